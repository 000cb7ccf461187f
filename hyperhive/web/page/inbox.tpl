% inbox = state["inbox"]
% unread = [str(each["id"]) for each in inbox["messages"] if each["state"] == "queued"]
<section id="inbox" aria-labelledby="inbox-title" tabindex="-1">
% include("heading.tpl", id="inbox", leet="1NB0X", plain="Inbox")
% if not inbox["messages"]:
<p class="none">No mail for you.</p>
% else:
<form method="post" action="/api/read" class="row" id="read">
% include("hidden.tpl")
% if unread:
<span class="wait">{{inbox["unread"]}} unread</span> <button name="ids" value="{{",".join(unread)}}">Mark {{len(unread)}} as read</button>
% end
<output></output></form>
% end
<ul class="items" id="inbox-list">
% for message in inbox["messages"]:
% include("letter.tpl")
% end
</ul>
</section>
