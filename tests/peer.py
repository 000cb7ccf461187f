"""peer.py SOCKET LOG ANSWERS: a scripted broker, for what the real one cannot be made to do at will.

ANSWERS maps an operation to the list of its answers in turn, of which the last one repeats. An answer is an
object (merged into {"id":…,"ok":true}) or one of "park" (no answer), "hangup", "half" (half a line, then
hangup) and "garbage". Every request is appended to LOG, one per line.
"""

import json
import sys
import threading
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

LOCK = threading.Lock()


def next_answer(op: str) -> Any:
    answers = ANSWERS.get(op, [{}])
    with LOCK:
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Peer(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            request = json.loads(line)
            with LOCK, LOG.open("a") as log:
                log.write(line.decode())
            answer = next_answer(request["op"])
            if isinstance(answer, list):  # several lines: an answer and the events after it
                for part in answer:
                    self.put({"id": request["id"], "ok": True, **part} if part is answer[0] else part)
            elif isinstance(answer, dict):
                self.put({"id": request["id"], "ok": True, **answer})
            elif answer == "half":
                self.wfile.write(b'{"id":')
                return
            elif answer == "garbage":
                self.wfile.write(b"garbage\n")
            elif answer == "hangup":
                return

    def put(self, message: Any) -> None:
        self.wfile.write(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    LOG = Path(sys.argv[2])
    ANSWERS = json.loads(sys.argv[3])
    with ThreadingUnixStreamServer(sys.argv[1] + ".new", Peer) as server:
        server.daemon_threads = True
        Path(sys.argv[1] + ".new").rename(sys.argv[1])  # from here on it is there, and it is listening
        server.serve_forever()
