<section id="questions" aria-labelledby="questions-title">
% include("heading.tpl", id="questions", leet="QU3ST10NS", plain="Questions")
% if not state["questions"]:
<p class="none">Nobody asks you anything.</p>
% end
<ul class="items" id="questions-list">
% for each in state["questions"]:
% include("question.tpl")
% end
</ul>
</section>
