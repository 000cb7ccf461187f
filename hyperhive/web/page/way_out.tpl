<section id="way-out" aria-labelledby="way-out-title">
% include("heading.tpl", id="way-out", leet="W4Y 0UT", plain=f"Way out of {name}")
% if not egress["refused"] and not egress["reached"]:
<p class="none">It has not tried to go anywhere in the last 7 days.</p>
% end
% first, rest = egress["refused"][:5], egress["refused"][5:]
<ul class="items" id="refused-list">
% for each in first:
% include("refused.tpl", each=each)
% end
</ul>
% if rest:
<details id="refused-more"><summary>{{show.counted(len(rest), "more place")}} where it was refused</summary>
<ul class="items">
% for each in rest:
% include("refused.tpl", each=each)
% end
</ul></details>
% end
% if egress["reached"]:
<details id="reached"><summary>{{show.counted(len(egress["reached"]), "host")}} reached in the last 7 days</summary>
<div class="scrolls" tabindex="0"><table class="figures"><thead><tr><th scope="col">Host</th><th scope="col" class="number">Connections</th><th scope="col" class="number">Sent</th><th scope="col" class="number">Received</th>
<th scope="col">By the rule</th><th scope="col">The last</th></tr></thead><tbody>
% for each in egress["reached"]:
<tr><th scope="row">{{show.place(each)}}</th><td class="number">{{each["count"]}}</td><td class="number">{{show.size(each["bytes_sent"])}}</td><td class="number">{{show.size(each["bytes_received"])}}</td>
<td>{{each["rule"]}}</td><td>{{each["end"]}}, <time datetime="{{each["last_at"]}}">{{age(each["last_at"])}} ago</time></td></tr>
% end
</tbody></table></div>
</details>
% end
% include("asks.tpl", asks=show.ASKS["egress"], of=name)
</section>
