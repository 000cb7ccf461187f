<section id="denials" aria-labelledby="denials-title">
% include("heading.tpl", id="denials", leet="D3N13D", plain="Commands that were not allowed")
% if not denials:
<p class="none">No command was denied.</p>
% end
<ul class="items" id="denials-list">
% for denial in denials:
% include("denial.tpl")
% end
</ul>
</section>
