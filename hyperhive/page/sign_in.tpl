% rebase("base.tpl", title="Sign in")
<h1>Sign in</h1>
<form method="post" action="/sign-in">
<input type="hidden" name="code" value="{{code}}">
<button>Sign in</button>
</form>
