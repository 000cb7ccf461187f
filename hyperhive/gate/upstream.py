"""The model that requests are passed to: its address, its credential, a connection to it."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import h11

from hyperhive import settings
from hyperhive.gate import http1
from hyperhive.problem import EX_CONFIG, Problem

CONNECT_TIMEOUT = 20.0
ANSWER_IDLE = 900.0  # a model may think for minutes before its first byte
CREDENTIALS = {"model-key": (b"x-api-key", b""), "model-token": (b"authorization", b"Bearer ")}


@dataclass(frozen=True)
class Upstream:
    name: str  # for people
    host: bytes  # for the Host header
    unix: Path | None = None
    address: tuple[str, int] = ("", 0)
    tls: ssl.SSLContext | None = None
    auth: tuple[bytes, bytes] | None = None


def credential(folder: Path | None) -> tuple[bytes, bytes] | None:
    """The header of the first credential that is there; a blank one is the unit's default for none."""
    for name, (header, prefix) in CREDENTIALS.items():
        path = folder / name if folder else None
        secret = path.read_bytes().strip() if path and path.exists() else b""
        if secret and not secret.isascii():
            hint = f"write the bare key to /etc/hyperhive/credentials/{name}"
            raise Problem(
                "bad-config", f"credential '{name}' is not ASCII", hint=hint, exit_status=EX_CONFIG
            )
        if secret:
            return header, prefix + secret
    return None


def upstream(endpoint: str, rehearsal: Path, folder: Path | None) -> Upstream:
    if endpoint == settings.REHEARSAL:
        return Upstream(
            "the rehearsal model", b"rehearsal", unix=rehearsal
        )  # it gets no credential: it needs none
    url = urlsplit(endpoint)
    try:
        host, port = url.hostname or "", url.port
    except ValueError as e:
        raise _bad(endpoint, str(e)) from e
    auth = credential(folder)
    if url.scheme == "http" and auth and not _is_loopback(host):
        raise _bad(endpoint, "a credential would go out unencrypted; use https")
    return Upstream(
        name=f"the model endpoint '{endpoint}'",
        host=url.netloc.encode(),
        address=(host, port or (443 if url.scheme == "https" else 80)),
        tls=ssl.create_default_context() if url.scheme == "https" else None,
        auth=auth,
    )


def _bad(endpoint: str, reason: str) -> Problem:
    return Problem("bad-config", f"[model] endpoint '{endpoint}': {reason}", exit_status=EX_CONFIG)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def failures(to: Upstream) -> Iterator[None]:
    """What goes wrong with the model's side becomes a Problem; the client's side keeps its own errors."""
    try:
        yield
    except TimeoutError as e:
        raise Problem("upstream", f"{to.name} does not answer") from e
    except h11.RemoteProtocolError as e:
        raise Problem("upstream", f"{to.name} broke off its answer: {e}") from e
    except OSError as e:
        # asyncio puts the address in strerror's place, ssl a number of its own in errno's
        number = e.errno if isinstance(e, ConnectionError) else None
        reason = os.strerror(number) if number else e.strerror or str(e) or type(e).__name__
        raise Problem("upstream", f"{to.name} cannot be reached: {reason}") from e


async def connect(to: Upstream) -> http1.Connection:
    with failures(to):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if to.unix:
                streams = await asyncio.open_unix_connection(os.fspath(to.unix))
            else:
                streams = await asyncio.open_connection(*to.address, ssl=to.tls)
    return http1.Connection(h11.CLIENT, *streams, ANSWER_IDLE)
