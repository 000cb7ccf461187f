<form method="post" action="/api/allow" class="allow">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{denial["agent"]}}"><input type="hidden" name="denial" value="{{denial["id"]}}">
<div class="row"><label class="grow">Rule for [tools] allow of {{denial["agent"]}} <input class="mono" name="patterns" required maxlength="600" value="{{denial["pattern"]}}" placeholder="Bash(git *)" spellcheck="false" autocapitalize="off"></label>
<button>Ask for this rule</button></div><output></output></form>
