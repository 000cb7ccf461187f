% runs = not record and agent["state"] == "working" and turn["number"] > agent["turns"]
<li id="turn-{{turn["number"]}}-{{turn["invocation"][:8]}}" class="turn"{{!" data-runs" if runs else ""}}>
<div class="head"><h3>Turn {{turn["number"]}}</h3>
% if record:
<span class="pill {{show.look(record["outcome"])}}">{{record["outcome"]}}</span>
<span class="calm small"><time datetime="{{record["started_at"]}}">{{age(record["started_at"])}} ago</time>, took {{f"{record['duration_ms'] / 1000:.1f}"}} s, {{record["model"]}}, {{record["tokens_in"] + record["tokens_cache_read"] + record["tokens_cache_write"]}} tokens in, {{record["tokens_out"]}} out{{f", ${record['cost_usd']:.2f}" if record["cost_usd"] else ""}}</span>
% else:
<span class="pill busy">{{"running" if runs else "no record"}}</span>
% end
</div>
% if record and record["error"]:
<p class="bad body">{{record["error"]}}</p>
% end
% if turn["more"]:
<p class="small calm" id="before-{{turn["number"]}}-{{turn["invocation"][:8]}}" data-keep>… <a class="earlier" href="{{here}}?before={{turn["number"] + 1}}{{f"&events_before={turn['events'][0]['n']}" if turn["events"] else ""}}#turns">what happened before that</a></p>
% end
<ol class="events" id="events-{{turn["number"]}}-{{turn["invocation"][:8]}}">
% for event in turn["events"]:
% include("event.tpl")
% end
</ol>
% if record and record["tools"] and not turn["events"]:
<p class="small">{{show.calls(record["tools"])}}</p>
% end
</li>
