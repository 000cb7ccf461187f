<li id="letter-{{message["id"]}}">
<div class="head"><h3 class="name">{{message["from"]}}</h3>
% if message["state"] == "queued":
<span class="pill wait">unread</span>
% end
<span class="calm small">{{message["id"]}}{{f", to {message['in_reply_to']}" if message["in_reply_to"] else ""}}, <time datetime="{{message["sent_at"]}}">{{age(message["sent_at"])}} ago</time></span></div>
<p class="body">{{show.text_of(message)}}\\
% if message.get("clipped"):
 <a href="/message/{{message["id"]}}">… whole message</a>\\
% end
</p>
<div class="row">
% if message["from"] not in ("system", "operator"):
<details class="ask"><summary>Reply …</summary>
<form method="post" action="/api/send" data-read="{{message["id"] if message["state"] == "queued" else ""}}">
% include("hidden.tpl")
<input type="hidden" name="to" value="{{message["from"]}}"><input type="hidden" name="in_reply_to" value="{{message["id"]}}">
<label>Reply to {{message["from"]}} <textarea name="body" required maxlength="65536"></textarea></label>
<div class="row"><button>Send</button></div><output></output></form></details>
% end
% if message["state"] == "queued":
<form method="post" action="/api/read">
% include("hidden.tpl")
<input type="hidden" name="ids" value="{{message["id"]}}"><button>Mark as read</button><output></output></form>
% end
</div>
</li>
