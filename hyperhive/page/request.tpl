% rebase("base.tpl", title=f"request {approval['id']}")
<h1>request {{approval["id"]}}: {{approval["kind"]}} of {{approval["agent"]}}</h1>
<p>risk: {{approval["risk"]}}</p>
<ul>
% for each in summary:
<li>{{each}}</li>
% end
</ul>
<pre>{{diff.get("diff", "")}}</pre>
