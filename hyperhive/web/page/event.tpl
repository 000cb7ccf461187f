% text = event["text"]
% more = event["bytes"] - len(text.encode())
% lines = show.changed(event) if event["kind"] == "tool" else []
<li id="event-{{turn["number"]}}-{{turn["invocation"][:8]}}-{{event["n"]}}" class="{{event["kind"]}}">
% if event["kind"] == "tool":
% if lines:
<p class="small"><b>{{event["tool"]}}</b> <code>{{show.brief(event)}}</code></p>
% include("diff.tpl")
% else:
<details><summary><b>{{event["tool"]}}</b> <code>{{show.brief(event)}}</code></summary><pre class="log" tabindex="0">{{text}}</pre></details>
% end
% elif event["kind"] == "result":
<details><summary class="calm">result: {{" ".join(text.split())[:120] or "empty"}}</summary><pre class="log" tabindex="0">{{text}}</pre></details>
% elif event["kind"] == "thinking":
<details><summary class="calm">thinks</summary><p class="body">{{text}}</p></details>
% elif denial := show.denied(event):
<p class="body"><a class="pill bad" href="#denials">denied</a> {{denial}}</p>
% else:
<p class="body {{"calm small" if event["kind"] == "status" else ""}}">{{text}}</p>
% end
% if more > 0:
<p class="small calm">… {{more}} bytes more, which were not kept</p>
% end
</li>
