"""In the cage: pass what comes to 127.0.0.1:3128 on to the gate's socket, byte for byte."""

import selectors
import socket
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

    def start(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.ways:
                    self.move(key.fileobj)

    def accept(self) -> None:
        client, _ = self.listener.accept()
        gate = socket.socket(socket.AF_UNIX)
        try:
            if len(self.ways) >= 2 * CONNECTIONS_MAX:
                raise ConnectionError("too many connections")
            gate.connect(self.gate)
        except OSError as e:
            body = f"hive-gate cannot be reached: {e}\n".encode()
            head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            client.sendall(head.encode() + body)
            client.close()
            gate.close()
            return
        out, back = Way(client, gate), Way(gate, client)
        self.ways[client], self.ways[gate] = (out, back), (back, out)
        for sock in (client, gate):
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ)

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
