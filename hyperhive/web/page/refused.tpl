<li id="refused-{{each["host"]}}-{{each["port"]}}-{{each["rule"]}}" tabindex="-1">
<div class="head"><h3><code>{{show.place(each)}}</code></h3>
<span class="calm small">refused {{show.counted(each["count"], "time")}}, the last <time datetime="{{each["last_at"]}}">{{age(each["last_at"])}} ago</time></span></div>
<p><span class="wait">{{show.REFUSALS.get(each["rule"], "for a reason that is not told any more")}}</span></p>
% if each["request"]:
<p><a href="/request/{{each["request"]}}">Request {{each["request"]}}</a> asks for it.</p>
% elif each["wanted"]:
<form method="post" action="/api/allow" class="allow">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{each["agent"]}}">
<div class="row"><label class="grow">Host for [egress] allow of {{each["agent"]}} <input class="mono" name="hosts" required maxlength="300" value="{{each["wanted"]}}" spellcheck="false" autocapitalize="off"></label>
<button>Ask for this host</button></div><output></output></form>
% end
</li>
