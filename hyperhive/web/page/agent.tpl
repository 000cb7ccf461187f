% agent = shown["agent"]
% name = agent["name"]
% rebase("base.tpl", title=name, of=name)
% here = f"/agent/{name}"
<p class="crumbs"><a href="/">The hive</a> <a href="#turns">turns</a> <a href="#charts">charts</a> <a href="#denials">denied</a> <a href="#way-out">way out</a> <a href="#questions">questions</a>
<a href="#mail">mail</a> <a href="#config">config</a> <a href="#crashes">crashes</a></p>
% include("agent_head.tpl")
% include("turns.tpl")
% include("denials.tpl")
% include("way_out.tpl")
% include("charts.tpl", of=name, whole=False, window=show.WINDOW)
% include("agent_ends.tpl")
<section id="mail" aria-labelledby="mail-title">
% include("heading.tpl", id="mail", leet="M41L", plain=f"Mail of {name}")
% include("mails.tpl")
</section>
% notes = shown["notes"]
% if notes and notes["bytes"]:
<section id="notes" aria-labelledby="notes-title">
% include("heading.tpl", id="notes", leet="N0T3S", plain="Notes")
<p class="calm small"><code>/state/notes.md</code> as of <time datetime="{{notes["at"]}}">{{age(notes["at"])}} ago</time>, {{notes["bytes"]}} bytes</p>
<pre class="log" tabindex="0">{{notes["text"]}}</pre>
</section>
% end
% include("config.tpl")
% include("crashes.tpl", crashes=show.crashes(shown["recent_runs"]))
