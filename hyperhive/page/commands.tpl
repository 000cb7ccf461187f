<details class="ask"><summary>Model …</summary>
<form method="post" action="/api/model">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}">
<div class="row"><label class="grow">Model (empty: what agent.toml or the hive says) <input name="model" maxlength="100" autocomplete="off"></label>
<label class="grow">Until (empty: for good) <input name="until" maxlength="40" autocomplete="off" placeholder="2026-12-24T18:00Z"></label>
<button>Switch</button></div><output></output></form></details>
% for action, word in (("cancel-turn", "Cancel the turn"), ("compact", "Compact"), ("new-session", "New session")):
<form method="post" action="/api/{{action}}">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}"><button>{{word}}</button><output></output></form>
% end
