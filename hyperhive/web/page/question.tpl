<li id="question-{{each["id"]}}" tabindex="-1">
<div class="head"><h3><a class="name" href="/agent/{{each["asker"]}}">{{each["asker"]}}</a> asks {{each["asked"] if each["asked"] != "operator" else ""}}</h3>
<span class="calm small">question {{each["id"]}}, <time datetime="{{each["asked_at"]}}">{{age(each["asked_at"])}} ago</time></span>
% if each["expires_at"]:
<span class="wait small">expires {{show.until(each["expires_at"])}}</span>
% end
</div>
<p class="body">{{each["question"]}}</p>
<form method="post" action="/api/answer">
% include("hidden.tpl")
<input type="hidden" name="question" value="{{each["id"]}}">
% if each["options"] and not each["multi"]:
<div class="row" role="group" aria-label="Answers to question {{each["id"]}}">
% for option in each["options"]:
<button name="answer" value="{{option}}">{{option}}</button>
% end
</div>
% elif each["options"]:
<fieldset class="row"><legend class="calm small">One or more</legend>
% for option in each["options"]:
<label class="option"><input type="checkbox" name="answer" value="{{option}}"> {{option}}</label>
% end
</fieldset>
<div class="row"><button>Answer</button></div>
% else:
<div class="row"><label class="grow">Your answer <textarea name="answer" required rows="2" maxlength="32768"></textarea></label><button>Answer</button></div>
% end
<output></output></form>
% if each["options"]:
<details><summary>Another answer …</summary>
<form method="post" action="/api/answer">
% include("hidden.tpl")
<input type="hidden" name="question" value="{{each["id"]}}"><input type="hidden" name="other" value="1">
<div class="row"><label class="grow">In your own words <textarea name="answer" required rows="2" maxlength="32768"></textarea></label><button>Answer</button></div>
<output></output></form></details>
% end
</li>
