<ul class="items wide mail" id="mail-list">
% for message in mails:
<li id="mail-{{message["id"]}}">
<a class="small" href="/message/{{message["id"]}}"><span class="away">message </span>{{message["id"]}}</a>
<time datetime="{{message["sent_at"]}}">{{age(message["sent_at"])}} ago</time>
<span class="name">{{message["from"]}} <span aria-hidden="true">→</span><span class="away">to</span> {{message["to"]}}</span>
<span class="small {{show.look(message["state"])}}">{{message["state"]}}</span>
% text = show.text_of(message)
<p class="body">{{text[:show.FLOW_MAX]}}\\
% if message.get("clipped") or len(text) > show.FLOW_MAX:
 <a href="/message/{{message["id"]}}">… whole message</a>\\
% end
</p>
</li>
% end
</ul>
