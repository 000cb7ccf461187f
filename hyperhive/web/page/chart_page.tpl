% rebase("base.tpl", title=f"charts of {of}" if of else "charts", of=of)
<h1 class="away">{{f"Charts of {of}" if of else "Charts of the hive"}}</h1>
<p class="crumbs"><a href="/">The hive</a>
% if of:
<a href="/agent/{{of}}">{{of}}</a> <a href="/charts">charts of the hive</a>
% else:
% for agent in state["agents"]:
<a href="/agent/{{agent["name"]}}/charts">{{agent["name"]}}</a>
% end
% end
</p>
% include("charts.tpl", whole=True)
