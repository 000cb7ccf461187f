% inbox = state["inbox"]
% unread = [each for each in inbox["messages"] if each["state"] == "queued"]
<section id="inbox" aria-labelledby="inbox-title" tabindex="-1">
% include("heading.tpl", id="inbox", leet="1NB0X", plain="Inbox")
% if not inbox["messages"]:
<p class="none">No mail for you.</p>
% elif unread:
<form method="post" action="/api/read" class="row">
% include("hidden.tpl")
<input type="hidden" name="ids" value="{{",".join(str(each["id"]) for each in unread)}}">
<span class="wait">{{inbox["unread"]}} unread</span> <button>Mark {{len(unread)}} as read</button><output></output></form>
% end
<ul class="items" id="inbox-list">
% for message in inbox["messages"]:
% include("letter.tpl")
% end
</ul>
</section>
