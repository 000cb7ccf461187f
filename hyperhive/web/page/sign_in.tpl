% rebase("base.tpl", title="Sign in")
<section>
<h1>Sign in</h1>
<form method="post" action="/sign-in" data-plain>
% if code:
<input type="hidden" name="code" value="{{code}}">
<p>This link works once.</p>
% else:
<label>The code of the link that <code>hivectl url</code> prints <input name="code" required autocomplete="off"></label>
% end
<div class="row"><button class="yes">Sign in</button></div>
</form>
</section>
