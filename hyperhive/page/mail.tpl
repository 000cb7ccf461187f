% rebase("base.tpl", title=f"message {message['id']}")
% here = f"/message/{message['id']}"
<p class="crumbs"><a href="/">The hive</a></p>
<section>
<h1>Message {{message["id"]}}</h1>
<dl class="facts">
<dt>From</dt><dd class="name">{{message["from"]}}</dd><dt>To</dt><dd class="name">{{message["to"]}}</dd>
<dt>Sent</dt><dd>{{show.clock(message["sent_at"])}}, {{age(message["sent_at"])}} ago</dd>
<dt>State</dt><dd><span class="{{show.look(message["state"])}}">{{message["state"]}}</span>{{f": {message['reason']}" if message["reason"] else ""}}</dd>
% if message["in_reply_to"]:
<dt>Answers</dt><dd><a href="/message/{{message["in_reply_to"]}}">message {{message["in_reply_to"]}}</a></dd>
% end
</dl>
<p class="body whole">{{show.text_of(message)}}</p>
% if show.log_of(message):
<h2>Its last words</h2>
<pre class="log" tabindex="0">{{"\n".join(show.log_of(message))}}</pre>
% end
</section>
