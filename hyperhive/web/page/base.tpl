<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="csrf" content="{{csrf}}">
% state = get("state") or {}
% waiting = state.get("waiting") or []
<title>{{f"({len(waiting)}) " if waiting else ""}}{{get("title") or "hyperhive"}}</title>
<link rel="icon" href="{{static("icon.svg")}}" type="image/svg+xml">
<link rel="stylesheet" href="{{static("page.css")}}">
<script src="{{static("page.js")}}" defer></script>
</head>
<body data-last="{{f"{state['epoch']}-{state['seq']}" if state else ""}}" data-agent="{{get("of") or ""}}">
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="/">hyperhive</a>
% if state:
<p id="waits" data-waits="{{show.waits(waiting)}}">\\
% if waiting:
<a class="waits" href="/#waiting">{{len(waiting)}} {{"waits" if len(waiting) == 1 else "wait"}} for you</a>\\
% else:
nothing waits for you\\
% end
</p>
<p id="live" role="status">as of <time>{{show.clock(state["at"])}}</time></p>
<button id="notify" class="right" type="button" hidden>Notify me</button>
<a href="/charts">charts</a>
<a href="/sessions">sessions</a>
% end
</header>
<main id="main" tabindex="-1">
% if said:
<p class="said" role="status">{{said}}</p>
% end
{{!base}}
</main>
</body>
</html>
