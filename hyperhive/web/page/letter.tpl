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
<a class="button" href="/message/{{message["id"]}}#reply" data-inline="reply">Reply</a>
% end
% if message["state"] == "queued":
<button form="read" name="ids" value="{{message["id"]}}">Mark as read</button>
% end
</div>
<div data-keep></div>
</li>
