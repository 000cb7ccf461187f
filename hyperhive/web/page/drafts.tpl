<section id="drafts" aria-labelledby="drafts-title">
% include("heading.tpl", id="drafts", leet="DR4FTS", plain="Drafts")
% if not state["drafts"]:
<p class="none">No drafts.</p>
% end
<ul class="items" id="drafts-list">
% for each in state["drafts"]:
<li id="draft-{{each["agent"]}}">
<div class="head"><h3 class="name">{{each["agent"]}}</h3><span>{{each["description"]}}</span>
<span class="calm small">by {{each["by"]}}, <time datetime="{{each["at"]}}">{{age(each["at"])}} ago</time></span></div>
<div class="row">
% include("purge.tpl", name=each["agent"], what="Deletes this draft and its folders for good.")
</div></li>
% end
</ul>
<details><summary>New draft</summary>
<form method="post" action="/api/draft">
% include("hidden.tpl")
<div class="row"><label class="grow">Name <input name="agent" required maxlength="32" autocomplete="off"></label>
<label class="grow">What it is to be <input name="description" maxlength="2000" autocomplete="off"></label>
<button>Make the draft</button></div><output></output></form></details>
</section>
