"""Everything that listens, and every way to a network."""

import errno
import http.client
import json
import socket
import struct
from pathlib import Path

from .tries import ABOUT, Tries, attempt, connect, connect_tcp, listed, names


@attempt("the sockets of the operator, the services and the manager")
def _(tries: Tries) -> None:
    for path in ABOUT["sockets"]:
        tries(path, connect, path)


@attempt("the page and Datasette on the host's loopback")
def _(tries: Tries) -> None:
    for port in {7000, 7001, *ABOUT["ports"]}:
        tries(f"127.0.0.1:{port}", connect_tcp, "127.0.0.1", port)
        tries(f"[::1]:{port}", connect_tcp, "::1", port)


@attempt("D-Bus and systemd's own sockets")
def _(tries: Tries) -> None:
    for path in ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/io.system.ManagedOOM"):
        tries(path, connect, path)
    tries("machined", connect, "/run/systemd/userdb/io.systemd.Machine")


@attempt("the journal, to read and to write")
def _(tries: Tries) -> None:
    for name in ("socket", "stdout", "dev-log"):
        path = f"/run/systemd/journal/{name}"
        tries(path, connect, path, socket.SOCK_STREAM if name == "stdout" else socket.SOCK_DGRAM)
    tries("/dev/log", connect, "/dev/log", socket.SOCK_DGRAM)
    tries.none("files", listed("/var/log/journal", "/run/log/journal", "/var/log"))


@attempt("systemd's notify socket")
def _(tries: Tries) -> None:
    for path in ("/run/systemd/notify", "/run/hive-unit/notify"):
        tries(path, connect, path, socket.SOCK_DGRAM)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:  # nspawn's, which the test looks at outside
        s.sendto(b"STATUS=" + ABOUT["canary"].encode() + b"\nMAINPID=1", "/run/host/notify")
        tries["nspawn's"] = "sent"


@attempt("abstract sockets of the host")
def _(tries: Tries) -> None:
    tries(ABOUT["abstract"], connect, f"\0{ABOUT['abstract']}")
    seen = {word for word in Path("/proc/net/unix").read_text().split() if word.startswith(("/", "@"))}
    own = (
        "/run/hyperhive/agents/ada/hive.sock",
        "/run/hyperhive/gate/gate.sock",
    )  # which it is connected to
    tries.none("seen", seen - {*own})


@attempt("networks: the host's, its neighbours', the clouds' metadata, the internet")
def _(tries: Tries) -> None:
    for host in (*ABOUT["addresses"], "169.254.169.254", "192.0.2.1", "2001:db8::1"):
        tries(host, connect_tcp, host, 80)
    tries.none("interfaces", names("/sys/class/net") - {"lo"})


@attempt("raw and packet sockets, vsock and every other family")
def _(tries: Tries) -> None:
    usual = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    for family in {*range(1, 46)} - usual:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            tries(f"{family}/{kind}", socket.socket, family, kind)
    tries("ICMP", socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
    tries("ICMPv6", socket.socket, socket.AF_INET6, socket.SOCK_RAW, 58)


@attempt("netlink: setting up a network of its own")
def _(tries: Tries) -> None:
    def down() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
            about = struct.pack("=BxHiII", 0, 0, 1, 0, 1)  # struct ifinfomsg: lo, not up
            head = struct.pack("=IHHII", 16 + len(about), 16, 5, 1, 0)  # RTM_NEWLINK, with an answer
            s.send(head + about)
            if code := struct.unpack_from("=i", s.recv(4096), 16)[0]:
                raise OSError(-code, "netlink")

    tries("lo", down)


def ask_gate(method: str, url: str, body: str | None = None) -> None:
    relay = http.client.HTTPConnection("127.0.0.1", 3128, timeout=10)
    relay.request(method, url, body)
    status = relay.getresponse().status
    relay.close()
    if status >= 400:
        raise PermissionError(errno.EACCES, url)


@attempt("the model's provider, asked to fetch a URL (a picture, a page, an MCP server)")
def _(tries: Tries) -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.org/?secret"}}
    asked: dict[str, dict[str, object]] = {
        "picture": {"messages": [{"role": "user", "content": [picture]}]},
        "page": {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
        "server": {"mcp_servers": [{"url": "https://example.org/", "name": "x"}]},
    }
    for what, body in asked.items():
        usual: dict[str, object] = {
            "model": "sonnet",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hello"}],
        }
        tries(what, ask_gate, "POST", "/v1/messages", json.dumps(usual | body))


@attempt("through the gate to the host's loopback, to metadata, to hosts that are not allowed")
def _(tries: Tries) -> None:
    page = [f"{host}:{port}" for port in ABOUT["ports"] for host in ("127.0.0.1", "localhost", "[::1]")]
    for host in (*page, "169.254.169.254", "192.0.2.1", "example.org", *ABOUT["addresses"]):
        tries(host, ask_gate, "GET", f"http://{host}/")
