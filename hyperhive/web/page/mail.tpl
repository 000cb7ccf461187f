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
</section>
% if message["to"] == "operator" and message["from"] != "system":
<section id="reply" aria-labelledby="reply-title">
<h2 id="reply-title">Reply</h2>
<form method="post" action="/api/send" data-read="{{message["id"] if message["state"] == "queued" else ""}}">
% include("hidden.tpl")
<input type="hidden" name="to" value="{{message["from"]}}"><input type="hidden" name="in_reply_to" value="{{message["id"]}}">
<label>Reply to {{message["from"]}} <textarea name="body" required maxlength="65536"></textarea></label>
<div class="row"><button>Send</button></div><output></output></form>
</section>
% end
% if show.log_of(message):
<section>
<h2>Its last words</h2>
<pre class="log" tabindex="0">{{"\n".join(show.log_of(message))}}</pre>
</section>
% end
