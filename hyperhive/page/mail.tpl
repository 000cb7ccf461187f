% rebase("base.tpl", title=f"message {message['id']}")
<h1>{{message["from"]}} → {{message["to"]}}</h1>
<pre>{{message["body"]}}</pre>
