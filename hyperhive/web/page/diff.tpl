% if lines:
<div class="diff" tabindex="0" role="region" aria-label="Diff">\\
% for kind, text in lines:
<span class="{{kind}}">{{text}}</span>\\
% end
</div>
% else:
<p class="none">No files change.</p>
% end
