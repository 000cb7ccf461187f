% rebase("base.tpl", title="sessions")
<h1>sessions</h1>
<ul>
% for each in sessions:
<li>{{each["id"]}} {{each["agent"]}} {{each["seen_at"]}}{{" (this one)" if each["id"] == mine else ""}}
<form method="post" action="/api/sign-out">
<input type="hidden" name="csrf" value="{{csrf}}">
<input type="hidden" name="next" value="/sessions">
<input type="hidden" name="session" value="{{each["id"]}}">
<button>End</button>
</form></li>
% end
</ul>
