<section id="mail" aria-labelledby="mail-title">
% include("heading.tpl", id="mail", leet="M41L FL0W", plain="Mail flow")
<form method="post" action="/api/send" id="send">
% include("hidden.tpl")
<div class="row"><label>To <select name="to">
% for agent in state["agents"]:
<option>{{agent["name"]}}</option>
% end
<option value="all">all agents</option></select></label>
<label class="grow">Message <textarea name="body" required maxlength="65536" rows="2"></textarea></label>
<button>Send</button></div><output></output></form>
% if state["dead"]:
<div id="dead" tabindex="-1">
<h3 class="bad">{{show.counted(len(state["dead"]), "dead letter")}}</h3>
<ul class="items">
% for message in state["dead"]:
<li id="dead-{{message["id"]}}">
<div class="head"><span>{{message["id"]}}</span><span class="name">{{message["from"]}} → {{message["to"]}}</span><span class="bad">{{message["reason"]}}</span></div>
<p class="body">{{show.text_of(message)}}</p>
<div class="row">
<form method="post" action="/api/retry">
% include("hidden.tpl")
<input type="hidden" name="ids" value="{{message["id"]}}"><button>Try again</button><output></output></form>
<details class="ask"><summary>Drop …</summary>
<form method="post" action="/api/drop">
% include("hidden.tpl")
<input type="hidden" name="ids" value="{{message["id"]}}"><p>It will not be delivered.</p><button class="no">Yes, drop message {{message["id"]}}</button><output></output></form></details>
</div></li>
% end
</ul></div>
% end
% include("mails.tpl")
</section>
