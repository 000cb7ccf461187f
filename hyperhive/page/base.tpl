<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="csrf" content="{{csrf}}">
<title>{{get("title") or "hyperhive"}}</title>
<link rel="stylesheet" href="{{static("page.css")}}">
<script src="{{static("page.js")}}" defer></script>
</head>
<body>
% if said:
<p role="status">{{said}}</p>
% end
{{!base}}
</body>
</html>
