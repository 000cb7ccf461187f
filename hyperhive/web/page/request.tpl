% rebase("base.tpl", title=f"request {approval['id']}")
% here = f"/request/{approval['id']}"
<p class="crumbs"><a href="/">The hive</a></p>
<section id="request">
<h1>Request {{approval["id"]}}</h1>
% include("approval.tpl")
<div id="decide">
% include("decide.tpl")
</div>
</section>
<section id="diff" aria-labelledby="diff-title">
<h2 id="diff-title">Diff</h2>
% include("diff.tpl", lines=show.diff(diff["diff"]) if diff.get("diff") else [])
</section>
