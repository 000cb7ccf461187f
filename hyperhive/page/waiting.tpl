% waiting = state["waiting"]
<section id="waiting" aria-labelledby="waiting-title" class="{{"urgent" if waiting else ""}}" tabindex="-1">
% include("heading.tpl", id="waiting", leet="W41T1NG F0R Y0U", plain="Waiting for you")
% if not waiting:
<p class="none">Nothing waits for you.</p>
% else:
<ol class="items" id="waiting-list">
% for each in waiting:
<li id="waits-{{each["kind"]}}-{{each["agent"]}}-{{each["id"]}}" class="head">
<span class="pill wait">{{each["kind"]}}</span> <a href="{{show.anchor(each)}}">{{each["title"]}}</a>
<time datetime="{{each["since"]}}">{{age(each["since"])}} ago</time></li>
% end
</ol>
% end
</section>
