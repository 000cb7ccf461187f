<li id="denial-{{denial["id"]}}" tabindex="-1">
<div class="head"><h3>\\
% if here == "/":
<a class="name" href="/agent/{{denial["agent"]}}#denials">{{denial["agent"]}}</a> \\
% end
<code>{{denial["part"]}}</code></h3>
<span class="calm small">denial {{denial["id"]}}, {{show.counted(denial["count"], "time")}}, the last <time datetime="{{denial["last_at"]}}">{{age(denial["last_at"])}} ago</time></span></div>
<p><span class="wait">{{denial["rule"]}}</span>\\
% if denial["nearest"]:
 <span class="calm small">the nearest that is allowed: <code>{{denial["nearest"]}}</code></span>\\
% end
</p>
% if denial["command"] != denial["part"]:
<details><summary>The whole command</summary><pre class="log" tabindex="0">{{denial["command"]}}</pre></details>
% end
% if denial["state"] == "asked":
<p><a href="/request/{{denial["request"]}}">Request {{denial["request"]}}</a> asks for it.</p>
% else:
<div class="row">
% if denial["pattern"]:
% include("allow.tpl")
% else:
<details class="ask"><summary>Write a rule …</summary>
<p class="small calm">No rule can be made of this as it is.</p>
% include("allow.tpl")
</details>
% end
<form method="post" action="/api/dismiss">
% include("hidden.tpl")
<input type="hidden" name="ids" value="{{denial["id"]}}"><button aria-label="Dismiss denial {{denial["id"]}}">Dismiss</button><output></output></form>
</div>
% end
</li>
