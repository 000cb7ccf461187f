<details class="ask"><summary>Model …</summary>
<form method="post" action="/api/model">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}">
<div class="row"><label class="grow">Model (empty: what agent.toml or the hive says) <input name="model" maxlength="100" autocomplete="off" list="models"></label>
<label class="grow">Until (empty: for good) <input name="until" maxlength="40" autocomplete="off" placeholder="2h, 18:00 or 2026-12-24 18:00"></label>
<button>Switch</button></div><output></output></form>
<datalist id="models">
% for model, says in models:
<option value="{{model}}">{{says}}</option>
% end
</datalist></details>
<form method="post" action="/api/compact">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}"><button>Compact</button><output></output></form>
<details class="ask"><summary>Cancel the turn …</summary>
<form method="post" action="/api/cancel-turn">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}">
<p>What it does now stops. The turn's mail is not delivered again, and who sent it is told.</p>
<button class="no">Yes, cancel the turn</button><output></output></form></details>
<details class="ask"><summary>New session …</summary>
<form method="post" action="/api/new-session">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}">
<p>It forgets what was said so far. Its files and notes stay.</p>
<button class="no">Yes, begin a new session</button><output></output></form></details>
