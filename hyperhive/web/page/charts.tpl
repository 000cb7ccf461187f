% from hyperhive.web import charts
<section id="charts" aria-labelledby="charts-title">
<link rel="stylesheet" href="{{static("charts.css")}}">
% include("heading.tpl", id="charts", leet="CH4RT5", plain=f"Charts of {of}" if of else "Charts of the hive")
<div id="charts-at" data-keep data-agent="{{of}}" data-charts="{{charts.as_json(charts.AGENT if of else charts.HIVE)}}"
data-parts="{{static("uPlot.iife.min.js")}} {{static("uPlot.min.css")}}" {{"data-whole data-slow" if figures is not None else ""}}>
<nav class="windows" aria-label="How far back">
% for name, hours in charts.WINDOWS.items():
<a href="{{f"/agent/{of}/charts" if of else "/charts"}}?window={{name}}" data-hours="{{hours}}" {{!'aria-current="true"' if name == window else ""}}>{{name}}</a>
% end
</nav>
<p class="none charts-said" role="status" hidden></p>
<div class="charts"></div>
<noscript><p class="none">Charts need JavaScript. The window's figures are in the table\\
% if figures is None:
 <a href="{{f"/agent/{of}/charts" if of else "/charts"}}">on a page of its own</a>\\
% end
.</p></noscript>
</div>
% if figures is not None:
<details {{"open" if figures else ""}}><summary>All series of these {{window}}</summary>
% if not figures:
<p class="none">Nothing happened in this time.</p>
% else:
<div class="scrolls" tabindex="0"><table class="figures"><thead><tr><th scope="col">Series</th><th scope="col" class="number">Value</th><th scope="col" class="number">Most</th><th scope="col" class="number">95 %</th>
<th scope="col">Unit</th><th scope="col">What it is</th></tr></thead><tbody>
% for each in figures:
<tr><th scope="row">{{each["key"]}}</th><td class="number">{{each["value"]}}</td><td class="number">{{each["most"]}}</td><td class="number">{{each["high"]}}</td><td>{{each["unit"]}}</td><td>{{each["about"]}}</td></tr>
% end
</tbody></table></div>
% end
</details>
% end
% include("asks.tpl", asks=show.ASKS["agent" if of else "hive"], of=of)
</section>
% if figures is not None:
<link rel="stylesheet" href="{{static("uPlot.min.css")}}">
<script src="{{static("uPlot.iife.min.js")}}" defer></script>
% end
<script src="{{static("charts.js")}}" type="module"></script>
