"""In the cage: pass what comes to 127.0.0.1:3128 on to the gate's socket, byte for byte."""

import selectors
import socket
import sys
import threading

ADDRESS = ("127.0.0.1", 3128)
CHUNK = 256 * 1024
CONNECTIONS_MAX = 128


class Way:
    """One direction: what was read from `source` and not yet taken by `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.held = b""
        self.ended = False
        self.told = False  # the sink, that no more comes

    def move(self) -> bool:
        """False when the connection is over."""
        try:
            if not self.held and not self.ended:
                self.held = self.source.recv(CHUNK)
                self.ended = not self.held
            if self.held:
                self.held = self.held[self.sink.send(self.held) :]
            if self.ended and not self.held and not self.told:
                self.sink.shutdown(socket.SHUT_WR)
                self.told = True
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


class Relay:
    def __init__(self, gate: str, address: tuple[str, int] = ADDRESS) -> None:
        self.gate = gate
        self.listener = socket.create_server(address, backlog=64)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.ways: dict[socket.socket, tuple[Way, Way]] = {}  # (what it sends, what it receives)
        self.refused: set[socket.socket] = set()

    def start(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.ways:
                    self.move(key.fileobj)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.refused:
                    self.hear_out(key.fileobj)

    def accept(self) -> None:
        try:
            client, _ = self.listener.accept()
        except OSError as e:  # it hung up while it was in the queue
            print(f"Cannot accept a connection, ignoring: {e}", file=sys.stderr)
            return
        client.setblocking(False)
        gate = socket.socket(socket.AF_UNIX)
        gate.setblocking(False)
        try:
            if len(self.ways) >= 2 * CONNECTIONS_MAX:
                raise ConnectionError("too many connections")
            gate.connect(self.gate)
        except OSError as e:
            gate.close()
            self.refuse(client, f"hive-gate cannot be reached: {e.strerror or e}\n".encode())
            return
        out, back = Way(client, gate), Way(gate, client)
        self.ways[client], self.ways[gate] = (out, back), (back, out)
        for sock in (client, gate):
            self.selector.register(sock, selectors.EVENT_READ)

    def refuse(self, client: socket.socket, body: bytes) -> None:
        head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        try:
            client.send(head.encode() + body)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()
            return
        if len(self.refused) >= CONNECTIONS_MAX:
            client.close()
            return
        self.refused.add(client)
        self.selector.register(client, selectors.EVENT_READ)

    def hear_out(self, client: socket.socket) -> None:
        """A close in the middle of its request would be a reset, which overtakes the answer."""
        try:
            if client.recv(CHUNK):
                return
        except OSError:
            pass  # it has gone
        self.refused.discard(client)
        self.watch(client, 0)
        client.close()

    def move(self, sock: socket.socket) -> None:
        sends, receives = self.ways[sock]
        peer = sends.sink
        going = sends.move() and receives.move()
        if not going or (sends.told and receives.told):
            for each in (sock, peer):
                self.watch(each, 0)
                del self.ways[each]
                each.close()
            return
        self.listen(sock, sends, receives)
        self.listen(peer, receives, sends)

    def listen(self, sock: socket.socket, sends: Way, receives: Way) -> None:
        """Read while nothing of it is held; write while something for it is held."""
        reading = selectors.EVENT_READ if not sends.held and not sends.ended else 0
        writing = selectors.EVENT_WRITE if receives.held else 0
        self.watch(sock, reading | writing)

    def watch(self, sock: socket.socket, events: int) -> None:
        known = sock in self.selector.get_map()
        if events and known:
            self.selector.modify(sock, events)
        elif events:
            self.selector.register(sock, events)
        elif known:
            self.selector.unregister(sock)
