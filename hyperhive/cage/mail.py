"""A message as the model reads it: in the wake prompt of the harness, and as the result of recv."""

import re

from hyperhive.wire import Message

# What could pass for the begin or the end of a block, however it is spaced; the bound keeps it linear.
TAG = re.compile(r"<(?=[\W_]{0,8}mail)", re.IGNORECASE)


def block(message: Message) -> str:
    fields = {"id": message["id"], "from": message["from"], "to": message["to"], "sent": message["sent_at"]}
    if message["in_reply_to"]:
        fields["in_reply_to"] = message["in_reply_to"]
    if message["redelivered"]:
        fields["redelivered"] = 1
        fields["because"] = message["reason"]
    start = "".join(f' {name}="{attribute(value)}"' for name, value in fields.items())
    return f"<mail{start}>\n{TAG.sub('&lt;', message['body'])}\n</mail>"


def attribute(value: object) -> str:
    text = str(value).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())
