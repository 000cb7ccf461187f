% rebase("base.tpl", title=title)
<section>
<h1>{{title}}</h1>
<p>{{text[:1].upper() + text[1:]}}.</p>
% if hint:
<p class="calm">{{hint}}</p>
% end
% if again:
<p class="calm">This page tries again by itself.</p>
% end
<p><a href="/">The hive</a></p>
</section>
