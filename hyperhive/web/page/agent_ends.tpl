% questions = [each for each in state["questions"] if each["asker"] == name]
<section id="questions" aria-labelledby="questions-title">
% include("heading.tpl", id="questions", leet="QU3ST10NS", plain=f"Questions and loose ends of {name}")
% if not ends and not questions:
<p class="none">Nothing waits for {{name}} or by it.</p>
% end
<ul class="items" id="questions-list">
% for each in questions:
% include("question.tpl")
% end
% for end_ in ends:
% if not (end_["kind"] == "question asked" and end_["with"] == "operator"):
<li id="end-{{end_["kind"].replace(" ", "-")}}-{{end_["id"]}}"><div class="head"><span class="calm">{{end_["kind"]}} {{end_["id"]}}</span>
<span class="name">{{end_["with"]}}</span> <time datetime="{{end_["at"]}}">{{age(end_["at"])}} ago</time></div>
<p class="body">{{end_["text"]}}</p></li>
% end
% end
</ul>
<details><summary>Ask {{name}}</summary>
<form method="post" action="/api/ask">
% include("hidden.tpl")
<input type="hidden" name="to" value="{{name}}">
<div class="row"><label class="grow">Question <textarea name="question" required rows="2" maxlength="8192"></textarea></label><button>Ask</button></div>
<output></output></form></details>
</section>
