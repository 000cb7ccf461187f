% rebase("base.tpl", title=f"({len(state['waiting'])}) hyperhive" if state["waiting"] else "hyperhive")
<h1>hyperhive</h1>
<ul>
% for each in state["waiting"]:
<li>{{each["kind"]}} {{each["id"]}} {{each["title"]}} ({{age(each["since"])}})</li>
% end
</ul>
<ul>
% for agent in state["agents"]:
<li><a href="/agent/{{agent["name"]}}">{{agent["name"]}}</a> {{agent["state"]}} {{agent["doing"] or ""}}</li>
% end
</ul>
<form method="post" action="/api/send">
<input type="hidden" name="csrf" value="{{csrf}}">
<input type="hidden" name="next" value="/">
<label>to <input name="to" value="all"></label>
<label>text <textarea name="body"></textarea></label>
<button>Send</button>
</form>
<ul>
% for each in state["mail"]:
<li>{{each["from"]}} → {{each["to"]}}: {{each["body"]}}</li>
% end
</ul>
