<section id="crashes" aria-labelledby="crashes-title" tabindex="-1">
% include("heading.tpl", id="crashes", leet="CR4SH3S", plain=f"Crashes of {name}")
% if not crashes:
<p class="none">None of its last {{show.counted(len(shown["recent_runs"]), "run")}} crashed.</p>
% end
<ul class="items" id="crash-list">
% for run in crashes:
<li id="run-{{run["invocation"]}}">
<div class="head"><h3 class="bad">{{show.death(run)}}</h3>
<span class="calm small">after {{show.lasted(run)}}, <time datetime="{{run["ended_at"]}}">{{age(run["ended_at"])}} ago</time></span></div>
% if run["event"] == "quarantined":
<p>Nothing starts it until an admin does: <code>systemctl reset-failed 'hive-agent@{{name}}.*'; systemctl start hive-agent@{{name}}.socket</code></p>
% end
% if run.get("log"):
<details><summary>Its last words</summary><pre class="log" tabindex="0">{{"\n".join(run["log"])}}</pre></details>
% end
% for number in run.get("in_flight") or []:
<a class="small" href="/message/{{number}}">message {{number}} was in flight</a>
% end
<p class="small calm">All it said: <code>journalctl _SYSTEMD_INVOCATION_ID={{run["invocation"]}}</code></p>
</li>
% end
</ul>
% include("asks.tpl", asks=show.ASKS["crashes"], of=name)
</section>
