% rebase("base.tpl", title=shown["agent"]["name"])
<h1>{{shown["agent"]["name"]}}</h1>
<p>{{shown["agent"]["state"]}}</p>
