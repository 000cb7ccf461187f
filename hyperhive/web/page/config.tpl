<section id="config" aria-labelledby="config-title">
% include("heading.tpl", id="config", leet="C0NF1G", plain=f"Config of {name}, and what became of it")
% for file in config["files"]:
<details id="file-{{file["path"]}}"><summary><code>{{file["path"]}}</code> of deploy {{config["deploy"]}}, which runs</summary>
<pre class="log" tabindex="0">{{file["text"]}}</pre></details>
% end
<ul class="items" id="config-list">
% current = next((e["detail"].get("deploy") for e in history if e["event"] == "deployed" and e["detail"].get("deploy")), None)
% for entry in history:
% deploy = entry["detail"].get("deploy")
<li id="entry-{{entry["id"]}}">
<div class="head"><span class="pill {{show.look(entry["event"])}}">{{entry["event"]}}</span>
<span>{{entry["detail"]["kind"]}}{{f", deploy {deploy}" if deploy else ""}}</span>
% if entry["event"] == "deployed" and deploy and deploy == current:
<span class="good">runs now</span>
% end
<span class="calm small">by {{entry["who"]}}, <time datetime="{{entry["at"]}}">{{age(entry["at"])}} ago</time></span>
% if entry["commit"]:
<a class="small" href="/request/{{entry["request"]}}" data-inline="diff">request {{entry["request"]}}: diff</a>
% else:
<a class="small" href="/request/{{entry["request"]}}">request {{entry["request"]}}</a>
% end
</div>
% note = entry["detail"].get("message") or entry["detail"].get("reason") or entry["detail"].get("note")
% if note:
<p class="body">{{note}}</p>
% end
<div data-keep></div>
% if entry["event"] == "deployed" and deploy and deploy != current:
<details class="ask"><summary>Go back to deploy {{deploy}} …</summary>
<form method="post" action="/api/rollback">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}"><input type="hidden" name="deploy" value="{{deploy}}">
<p>{{name}} runs with that config again, after its turn.</p>
<button class="no">Yes, go back to deploy {{deploy}}</button><output></output></form></details>
% end
</li>
% end
</ul>
</section>
