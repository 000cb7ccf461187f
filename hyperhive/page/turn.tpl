% ended = turn.get("outcome")
<li id="turn-{{turn["number"]}}" class="turn">
<div class="head"><h3>Turn {{turn["number"]}}</h3>
<span class="pill {{show.look(ended) if ended else "busy"}}">{{ended or "running"}}</span>
<span class="calm small"><time datetime="{{turn["started_at"]}}">{{age(turn["started_at"])}} ago</time>\\
% if ended:
, took {{f"{turn['duration_ms'] / 1000:.1f}"}} s, {{turn["model"]}}, {{turn["tokens_in"] + turn["tokens_cache_read"] + turn["tokens_cache_write"]}} tokens in, {{turn["tokens_out"]}} out{{f", ${turn['cost_usd']:.2f}" if turn["cost_usd"] else ""}}\\
% end
</span></div>
% if turn.get("error"):
<p class="bad body">{{turn["error"]}}</p>
% end
% if "events" in turn:
<ol class="events">
% for event in turn["events"]:
% include("event.tpl")
% end
</ol>
% elif turn["tools"]:
<p class="small">{{show.calls(turn["tools"])}}</p>
% end
</li>
