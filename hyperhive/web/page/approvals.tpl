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
% ended = [each for each in decided if each["state"] not in ("pending", "approved", "applying")]
% if ended:
<details><summary>Decided and done lately</summary>
<ul class="items" id="decided-list">
% for each in ended:
<li id="decided-{{each["id"]}}" class="head"><span class="pill {{show.look(each["state"])}}">{{each["state"]}}</span>
<a href="/request/{{each["id"]}}">{{each["kind"]}} of {{each["agent"]}}</a> <span>{{(each["message"] or each["reason"] or each["note"] or "")[:200]}}</span>
<time datetime="{{each["ended_at"] or each["decided_at"]}}">{{age(each["ended_at"] or each["decided_at"])}} ago</time></li>
% end
</ul></details>
% end
% include("asks.tpl", asks=show.ASKS["approvals"], of="")
</section>
