"""A message as a list shows it: the beginning of its text."""

import json

from hyperhive import names
from hyperhive.wire import Message

BODY_MAX = 600  # characters


def clipped(message: Message) -> Message:
    body = message["body"]
    if message["from"] == names.SYSTEM and len(body) > BODY_MAX:
        body = json.dumps(json.loads(body) | {"log": []})  # a crash's last words: the long part
    return message | {"body": body[:BODY_MAX], "clipped": len(body) > BODY_MAX}
