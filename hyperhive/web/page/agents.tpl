<section id="agents" aria-labelledby="agents-title">
% include("heading.tpl", id="agents", leet="4G3NTS", plain="Agents")
% if not state["agents"]:
<p class="none">No agents yet. Make one: <code>hivectl spawn manager</code></p>
% end
<ul class="items wide agents" id="agents-list">
% for agent in state["agents"]:
% mail = agent["waiting"] + agent["leased"]
<li id="agent-{{agent["name"]}}">
<h3><a href="/agent/{{agent["name"]}}">{{agent["name"]}}</a></h3>
<div><span class="pill {{show.look(agent["state"])}}" data-state="{{agent["name"]}}" data-word="{{agent["state"]}}">{{agent["state"]}}</span>\\
% for each in agent["wild"]:
 <span class="pill bad" title="{{each["text"]}}">{{each["kind"].replace("_", " ")}}</span>\\
% end
</div>
<div><span class="doing" data-doing="{{agent["name"]}}">{{agent["doing"] or agent["status"] or agent["description"] or ""}}</span></div>
<div class="small calm">{{agent["model_status"]["next"]}}{{" (queued)" if show.queued(agent["model_status"]) else ""}}</div>
<div class="small calm">\\
% if mail:
<span class="wait">{{show.counted(mail, "message")}} waiting</span> · \\
% end
% if agent["last_turn_at"]:
<span class="{{show.look(agent["last_outcome"])}}">{{agent["last_outcome"]}}</span> <time datetime="{{agent["last_turn_at"]}}">{{age(agent["last_turn_at"])}} ago</time>\\
% else:
no turn yet\\
% end
</div>
</li>
% end
</ul>
</section>
