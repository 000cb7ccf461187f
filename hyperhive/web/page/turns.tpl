<section id="turns" aria-labelledby="turns-title">
% include("heading.tpl", id="turns", leet="TURN5", plain=f"Turns of {name}, newest first")
% if not turns:
<p class="none">No turn yet.</p>
% end
<div id="turns-at" class="scrolls" tabindex="0" role="region" aria-label="Turns of {{name}}">
<ol class="items" id="turn-list" data-grows>
% for turn in turns:
% include("turn.tpl", record=turn["turn"])
% end
</ol>
% if turns and turns[-1]["number"] > 1:
<p id="older-at" data-keep><a id="older" href="{{here}}?before={{turns[-1]["number"]}}">Older turns</a></p>
% end
</div>
% include("asks.tpl", asks=show.ASKS["turns"], of=name)
<script src="{{static("turns.js")}}" type="module"></script>
</section>
