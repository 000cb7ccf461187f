% from hyperhive.web import charts
% if get("wrong"):
<p class="none bad">The figures cannot be read: {{wrong}}</p>
% else:
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
% if found:
<script type="application/json" id="charts-found">{{!charts.inert(found)}}</script>
% end
% end
