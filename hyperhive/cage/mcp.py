"""MCP over stdin and stdout: a thread and a connection per call, so that a parked recv holds up no send."""

import json
import os
import sys
import threading
from typing import BinaryIO

from hyperhive import names, wire
from hyperhive.cage import tools, tools_manager
from hyperhive.client import Client
from hyperhive.problem import Problem
from hyperhive.wire import Message

PROTOCOLS = ("2025-06-18", "2025-03-26", "2024-11-05")  # newest first
SOCKET = "/run/hive/hive.sock"
PATIENCE = 60.0  # seconds: a broker that is away comes back
CALLS_MAX = 32  # at once
CANCEL_WAIT = 1.0  # seconds: a broker that is well has noticed the hang-up long before

Id = int | str
ID = int | str

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602


class Refused(Exception):
    """A JSON-RPC error: code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Session:
    """One client, from its first line to the end of its input."""

    def __init__(self, path: str, invocation: str, role: str) -> None:
        self.path = path
        given = [*tools.ALL, *(tools_manager.ALL if role == names.MANAGER else [])]
        self.tools = {tool.name: tool for tool in given}
        self.hello = {"role": "tool", "invocation": invocation}
        self.calls: dict[Id, tuple[Client, threading.Thread]] = {}
        self.lock = threading.Lock()  # of the calls and of stdout

    def run(self, file: BinaryIO) -> None:
        while line := file.readline(wire.LINE_MAX):
            if len(line) == wire.LINE_MAX and not line.endswith(b"\n"):
                skip_line(file)
                self.fail(None, PARSE_ERROR, f"the line is longer than {wire.LINE_MAX} bytes")
            elif line.strip():
                self.take(line)

    def take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as e:
            self.fail(None, PARSE_ERROR, f"not JSON: {e}")
            return
        if not isinstance(message, dict):
            self.fail(None, INVALID_REQUEST, "not a JSON object")
            return
        id_, method, params = message.get("id"), message.get("method"), message.get("params", {})
        if method is None and ("result" in message or "error" in message):
            return  # an answer, and we never ask
        if not isinstance(method, str) or not isinstance(params, dict) or not isinstance(id_, ID | None):
            self.fail(id_ if isinstance(id_, ID) else None, INVALID_REQUEST, "not a JSON-RPC request")
            return
        if id_ is None:
            self.notice(method, params)
            return
        try:
            self.answer(id_, method, params)
        except Refused as e:
            self.fail(id_, e.code, str(e))

    def notice(self, method: str, params: Message) -> None:
        id_ = params.get("requestId")
        if method != "notifications/cancelled" or not isinstance(id_, ID):
            return
        with self.lock:
            client, thread = self.calls.pop(id_, (None, None))
        if client and thread:
            client.give_up()
            thread.join(CANCEL_WAIT)  # so that a recv in the next line finds what this one leaves behind

    def answer(self, id_: Id, method: str, params: Message) -> None:
        if method == "initialize":
            self.succeed(id_, initialize(params))
        elif method == "ping":
            self.succeed(id_, {})
        elif method == "tools/list":
            self.succeed(id_, {"tools": [tool.schema() for tool in self.tools.values()]})
        elif method == "tools/call":
            self.start(id_, params)
        else:
            raise Refused(UNKNOWN_METHOD, f"no method is called {method[:64]!r}")

    def start(self, id_: Id, params: Message) -> None:
        name, arguments = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str) or name not in self.tools:
            raise Refused(INVALID_PARAMS, f"no tool is called {str(name)[:64]!r}")
        if not isinstance(arguments, dict):
            raise Refused(INVALID_PARAMS, "'arguments' must be an object")
        client = Client(self.path, hello=self.hello, patience=PATIENCE)
        call = tools.Call(client, arguments, [])
        # a daemon: the end of stdin ends the process, parked or not
        thread = threading.Thread(target=self.work, args=(id_, self.tools[name], call), daemon=True)
        with self.lock:
            if id_ in self.calls:
                raise Refused(INVALID_REQUEST, f"request {id_!r} is under way")
            if len(self.calls) >= CALLS_MAX:
                raise Refused(INVALID_REQUEST, f"{CALLS_MAX} calls are under way")
            self.calls[id_] = client, thread
        thread.start()

    def work(self, id_: Id, tool: tools.Tool, call: tools.Call) -> None:
        with call.client:
            try:
                text, is_error = tools.run(tool, call), False
            except Problem as e:
                text, is_error = f"{e} ({e.hint})" if e.hint else str(e), True
            with self.lock:
                wanted = id_ in self.calls and self.calls[id_][0] is call.client
                if wanted:
                    del self.calls[id_]
            if wanted:
                self.succeed(id_, {"content": [{"type": "text", "text": text}], "isError": is_error})
                tell_shown(call)

    def succeed(self, id_: Id, result: Message) -> None:
        self.write({"jsonrpc": "2.0", "id": id_, "result": result})

    def fail(self, id_: Id | None, code: int, text: str) -> None:
        self.write({"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text}})

    def write(self, message: Message) -> None:
        line = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        with self.lock:
            while line:
                line = line[os.write(1, line) :]


def tell_shown(call: tools.Call) -> None:
    """Only when the CLI's pipe has it: mail of a call that ends before goes back in the queue."""
    if call.taken:
        try:
            call.client.call("shown", ids=[message["id"] for message in call.taken])
        except Problem as e:
            print(f"Cannot tell the broker what was shown: {e}, ignoring", file=sys.stderr)


def initialize(params: Message) -> Message:
    asked = params.get("protocolVersion")
    if not isinstance(asked, str):
        raise Refused(INVALID_PARAMS, "'protocolVersion' must be a string")
    return {
        "protocolVersion": asked if asked in PROTOCOLS else PROTOCOLS[0],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "hive", "version": str(wire.VERSION)},
    }


def skip_line(file: BinaryIO) -> None:
    while (part := file.readline(wire.LINE_MAX)) and not part.endswith(b"\n"):
        pass


def crash(args: threading.ExceptHookArgs) -> None:
    """A thread's uncaught exception ends the process: a call that is never answered would hang the agent."""
    if args.exc_type is not BrokenPipeError:
        sys.__excepthook__(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    os._exit(1)


def main() -> None:
    threading.excepthook = crash
    asked = os.environ.get
    session = Session(asked("HIVE_SOCKET", SOCKET), asked("INVOCATION_ID", ""), asked("HIVE_ROLE", ""))
    try:
        session.run(sys.stdin.buffer)
    except BrokenPipeError:
        return  # the CLI is gone
