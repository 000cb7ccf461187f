% rebase("base.tpl", title=title)
<section>
<h1>{{title}}</h1>
% if text:
<p class="wait">{{text[:1].upper() + text[1:]}}.</p>
% end
<form method="post" action="/sign-in" data-plain>
% if code:
<input type="hidden" name="code" value="{{code}}">
% else:
<label>The link that was printed, or its code <input name="code" required autocomplete="off" autocapitalize="none" spellcheck="false"></label>
% end
<div class="row"><button class="yes">{{"Try again" if code and text else "Sign in"}}</button></div>
</form>
<p class="calm small"><code>hivectl url</code>, typed on the machine of the hive, prints a link. It signs one browser in, once, within five minutes.</p>
</section>
