<section id="kept" aria-labelledby="kept-title">
% include("heading.tpl", id="kept", leet="K3PT ST4T3", plain="Kept state of destroyed agents")
% if not state["kept"]:
<p class="none">No destroyed agent is kept.</p>
% end
<ul class="items" id="kept-list">
% for each in state["kept"]:
<li id="kept-{{each["name"]}}">
<div class="head"><h3 class="name">{{each["name"]}}</h3>
<span class="calm small">{{show.size(each["bytes"])}}{{", with a login" if each["login"] else ""}}, {{show.counted(each["turns"], "turn")}}</span>
<time datetime="{{each["destroyed_at"]}}">destroyed {{age(each["destroyed_at"])}} ago</time></div>
<p class="small">{{each["description"]}}</p>
<div class="row">
<form method="post" action="/api/revive">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{each["name"]}}"><button>Revive {{each["name"]}}</button><output></output></form>
% include("purge.tpl", name=each["name"], what="Deletes its files and its registry for good. Nothing brings them back.")
</div>
</li>
% end
</ul>
</section>
