% from hyperhive.web import charts
<section id="charts" aria-labelledby="charts-title">
<link rel="stylesheet" href="{{static("charts.css")}}">
% if whole:
<link rel="stylesheet" href="{{static("uPlot.min.css")}}">
<link rel="preload" as="script" href="{{static("uPlot.iife.min.js")}}">
% end
% include("heading.tpl", id="charts", leet="CH4RT5", plain=f"Charts of {of}" if of else "Charts of the hive")
<div id="charts-at" data-keep data-agent="{{of}}" data-charts="{{charts.as_json(charts.AGENT if of else charts.HIVE)}}"
data-parts="{{static("uPlot.iife.min.js")}} {{"" if whole else static("uPlot.min.css")}}" {{"data-whole data-slow" if whole else ""}}>
<nav class="windows" aria-label="How far back">
% for name in charts.WINDOWS:
<a href="{{f"/agent/{of}/charts" if of else "/charts"}}?window={{name}}" data-window="{{name}}" {{!'aria-current="true"' if name == window else ""}}>{{name}}</a>
% end
</nav>
<p class="none charts-said" role="status" hidden></p>
<div class="charts"></div>
<noscript><p class="none">Charts need JavaScript. The window's figures are in the table\\
% if not whole:
 <a href="{{f"/agent/{of}/charts" if of else "/charts"}}">on a page of its own</a>\\
% end
.</p></noscript>
</div>
<script src="{{static("charts.js")}}" type="module" async></script>
% if whole:
{{!LATE}}
% end
% include("asks.tpl", asks=show.ASKS["agent" if of else "hive"], of=of)
</section>
