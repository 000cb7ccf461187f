% # they are kept in the address, so that a page without JavaScript has them, too
<form method="get" action="{{here}}#mail" id="filter" class="row" role="search">
<label class="grow">Filter <input name="text" type="search" value="{{wanted.get("text", "")}}" maxlength="150" autocomplete="off"></label>
% for key, label, whoever in (("from", "From", "anybody"), ("to", "To", "anybody"), ("state", "State", "any")):
<label>{{label}} <select name="{{key}}"><option value="">{{whoever}}</option>
% known = show.STATES if key == "state" else show.writers(state)
% for each in known if wanted.get(key) in (None, *known) else [*known, wanted[key]]:
<option{{" selected" if wanted.get(key) == each else ""}}>{{each}}</option>
% end
</select></label>
% end
<button>Find</button></form>
<p id="filter-says" class="small calm" role="status">\\
% if wanted:
{{show.counted(len(mails), "message") if mails else "No mail like that"}}{{", older than " + str(wanted["older"]) if wanted.get("older") else ""}}{{"; there may be older ones" if older else ""}}. <a href="{{here}}#mail" id="unfiltered">All mail</a>\\
% elif not mails:
No mail.\\
% end
</p>
<ul class="items wide mail" id="mail-list">
% for message in mails:
<li id="mail-{{message["id"]}}">
<a class="small" href="/message/{{message["id"]}}"><span class="away">message </span>{{message["id"]}}</a>
<time datetime="{{message["sent_at"]}}">{{age(message["sent_at"])}} ago</time>
<span class="name">{{message["from"]}} <span aria-hidden="true">→</span><span class="away">to</span> {{message["to"]}}</span>
<span class="small {{show.look(message["state"])}}">{{message["state"]}}</span>
% text = show.text_of(message)
<p class="body">{{text[:show.FLOW_MAX]}}\\
% if message.get("clipped") or len(text) > show.FLOW_MAX:
 <a href="/message/{{message["id"]}}">… whole message</a>\\
% end
</p>
</li>
% end
</ul>
% if older:
<p id="older-mail"><a href="{{here}}?{{older}}#mail">Older mail</a></p>
% end
