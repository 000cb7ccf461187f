<p class="asks calm">Ask more:
% for question, text in asks:
<a href="/explore/{{question}}{{f"?agent={of}" if of else ""}}">{{text}}</a>
% end
</p>
