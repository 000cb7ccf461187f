<details class="ask"><summary>Purge {{name}} …</summary>
<form method="post" action="/api/purge">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}"><input type="hidden" name="confirm" value="{{name}}">
<p>{{what}}</p>
<button class="no">Yes, purge {{name}}</button><output></output></form></details>
