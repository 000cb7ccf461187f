% model = agent["model_status"]
% models = show.models(state)
<section id="about">
<div class="head"><h1>{{name}}</h1> <span class="pill {{show.look(agent["state"])}}" data-state="{{name}}" data-word="{{agent["state"]}}">{{agent["state"]}}</span>
<span class="doing" data-doing="{{name}}">{{agent["doing"] or ""}}</span></div>
<dl class="facts">
<dt>Job</dt><dd>{{agent["description"] or "not described"}}{{" (manager)" if agent["role"] == "manager" else ""}}</dd>
% if agent["status"]:
<dt>Says</dt><dd>{{agent["status"]}} <time datetime="{{agent["status_at"]}}">{{age(agent["status_at"])}} ago</time></dd>
% end
<dt>Model</dt><dd id="model">{{model["next"]}}
<span class="{{"wait" if show.queued(model) else "good"}}">{{"queued: takes effect with the next turn" if show.queued(model) else "active" if model["now"] else ""}}</span>
<span class="small calm">{{show.SOURCES[model["from"]]}}</span>
% if model["set_by"]:
<span class="small calm">set by {{model["set_by"]}} <time datetime="{{model["set_at"]}}">{{age(model["set_at"])}} ago</time>\\
% if model["until"]:
, until <time datetime="{{model["until"]}}">{{show.clock(model["until"])}}</time>\\
% end
</span>
% end
% if model["refused"]:
<span class="bad">{{model["refused"]["model"]}} was refused: {{model["refused"]["error"]}}</span>
% end
</dd>
<dt>Writes to</dt><dd>{{"everybody" if "all" in agent["send_to"] else ", ".join(agent["send_to"]) or "nobody"}}</dd>
% for each in agent["wild"]:
<dt>Gone wild</dt><dd><span class="bad">{{each["text"]}}</span> since <time datetime="{{each["since"]}}">{{age(each["since"])}} ago</time>. To stop it: <code>{{each["do"]}}</code></dd>
% end
<dt>Mail</dt><dd>{{agent["waiting"]}} queued, {{agent["leased"]}} in a turn</dd>
<dt>Turns</dt><dd>{{agent["turns"]}}\\
% if agent["last_turn_at"]:
, the last ended {{age(agent["last_turn_at"])}} ago: <span class="{{show.look(agent["last_outcome"])}}">{{agent["last_outcome"]}}</span>\\
% end
</dd>
<dt>Unit</dt><dd><code>hive-agent@{{name}}.service</code></dd>
</dl>
<form method="post" action="/api/send" id="composer" class="composer" data-composer="{{name}}" data-models="{{show.as_json(models)}}">
% include("hidden.tpl")
<input type="hidden" name="to" value="{{name}}">
<label>Mail to {{name}}<span class="scripted" data-keep hidden>, or / for a command; Ctrl+Enter sends</span>
<textarea name="body" required maxlength="65536" rows="3"></textarea></label>
<div class="choices-at" data-keep></div>
<div class="row"><button>Send</button></div><output class="body"></output></form>
<div class="row">
% include("commands.tpl")
<details class="ask"><summary>Destroy {{name}} …</summary>
<form method="post" action="/api/destroy">
% include("hidden.tpl")
<input type="hidden" name="agent" value="{{name}}">
<p>It is stopped for good, and its requests, questions and reminders end. Its files are kept, and it can be revived.</p>
<button class="no">Yes, destroy {{name}}</button><output></output></form></details>
</div>
</section>
