% rebase("base.tpl", title=title)
<section>
<h1>{{title}}</h1>
<p>{{text}}</p>
% if hint:
<p class="calm">{{hint}}</p>
% end
<p><a href="/">The hive</a></p>
</section>
