<section id="approvals" aria-labelledby="approvals-title">
% include("heading.tpl", id="approvals", leet="4PPR0V4LS", plain="Approvals")
% if not state["approvals"]:
<p class="none">No request waits for you.</p>
% end
<ul class="items" id="approvals-list">
% for approval in state["approvals"]:
<li id="approval-{{approval["id"]}}" tabindex="-1">
% include("approval.tpl", summary=approval["summary"])
<p><a href="/request/{{approval["id"]}}" data-inline="diff">Read the diff</a></p>
<div data-keep></div>
% include("decide.tpl")
</li>
% end
</ul>
</section>
