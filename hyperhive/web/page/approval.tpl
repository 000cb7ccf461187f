<div class="head"><h3>{{approval["kind"]}} of <a class="name" href="/agent/{{approval["agent"]}}">{{approval["agent"]}}</a></h3>
<span class="pill {{show.look(approval["state"])}}">{{approval["state"]}}</span>
% if approval["risk"]:
<span class="pill {{show.look(approval["risk"])}}">{{show.RISKS[approval["risk"]]}}</span>
% end
<span class="calm small">request {{approval["id"]}}, by {{approval["requested_by"]}}, <time datetime="{{approval["requested_at"]}}">{{age(approval["requested_at"])}} ago</time>\\
% if approval["expires_at"] and approval["state"] == "pending":
, expires {{show.until(approval["expires_at"])}}\\
% end
</span></div>
% if approval["note"]:
<p class="body">{{approval["note"]}}</p>
% end
% if summary:
<ul class="grants" aria-label="What it grants and takes away">
% for text in summary:
<li>{{text}}</li>
% end
</ul>
% end
% if approval["message"] or approval["reason"]:
<p class="body {{"bad" if approval["state"] == "failed" else ""}}">{{approval["message"] or approval["reason"]}}</p>
% end
