% if approval["state"] == "pending":
<div class="row">
<form method="post" action="/api/approve">
% include("hidden.tpl")
<input type="hidden" name="request" value="{{approval["id"]}}"><button class="yes">Approve {{approval["kind"]}} of {{approval["agent"]}}</button><output data-request="{{approval["id"]}}"></output></form>
<details class="ask"><summary>Deny …</summary>
<form method="post" action="/api/deny">
% include("hidden.tpl")
<input type="hidden" name="request" value="{{approval["id"]}}">
<label>Reason, which {{approval["requested_by"]}} is told <input name="reason" required maxlength="2000"></label>
<div class="row"><button class="no">Deny request {{approval["id"]}}</button></div><output></output></form></details>
</div>
% end
