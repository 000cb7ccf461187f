% rebase("base.tpl", title="hyperhive")
% here = "/"
<h1 class="away">The hive</h1>
% include("waiting.tpl")
% include("agents.tpl")
% include("kept.tpl")
% include("drafts.tpl")
% include("approvals.tpl")
% if state["denials"]:
% include("denials.tpl", denials=state["denials"])
% end
% include("questions.tpl")
% include("inbox.tpl")
% include("flow.tpl")
