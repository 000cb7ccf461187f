% rebase("base.tpl", title="sessions")
% here = "/sessions"
<p class="crumbs"><a href="/">The hive</a></p>
<section>
<h1>Sessions</h1>
<ul class="items" id="sessions-list">
% for each in sessions:
<li id="session-{{each["id"]}}">
<div class="head"><h2>Session {{each["id"]}}</h2>
% if each["id"] == mine:
<span class="pill good">this one</span>
% end
<span class="calm small">last seen {{age(each["seen_at"])}} ago, begun {{show.clock(each["created_at"])}}</span></div>
<p class="small">{{"a program that reads metrics, and may do no more" if each["scope"] == "metrics" else each["agent"]}}</p>
<details class="ask"><summary>End session {{each["id"]}} …</summary>
<form method="post" action="/api/sign-out" data-plain>
% include("hidden.tpl")
<input type="hidden" name="session" value="{{each["id"]}}">
<p>{{"You will need a new link: hivectl url" if each["id"] == mine else "Whoever uses it will need a new link."}}</p>
<button class="no">Yes, end session {{each["id"]}}</button></form></details>
</li>
% end
</ul>
<details class="ask"><summary>End all …</summary>
<form method="post" action="/api/sign-out" data-plain>
% include("hidden.tpl")
<input type="hidden" name="all" value="1">
<p>This one, too, and links that nobody used yet.</p><button class="no">Yes, end all sessions</button></form></details>
</section>
