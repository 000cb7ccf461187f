% waiting = state["waiting"]
<section id="waiting" aria-labelledby="waiting-title" class="{{"urgent" if waiting else ""}}" tabindex="-1">
% include("heading.tpl", id="waiting", leet="W41T1NG F0R Y0U", plain="Waiting for you")
% if not waiting:
<p class="none">Nothing waits for you.</p>
% else:
<ol class="items" id="waiting-list">
% for each in waiting:
<li id="waits-{{each["kind"]}}-{{each["agent"]}}-{{each["id"]}}" class="head">
<span class="pill {{"bad" if each["do"] else "wait"}}">{{each["kind"].replace("_", " ")}}</span> <a href="{{show.anchor(each)}}">{{each["title"]}}</a>
<time datetime="{{each["since"]}}">{{age(each["since"])}} ago</time>\\
% if each["do"]:
<code class="do">{{each["do"]}}</code>\\
% end
</li>
% end
</ol>
% end
</section>
