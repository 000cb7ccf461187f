"""Git's pack files (gitformat-pack(5)), read with a limit on everything that they can ask for."""

import os
import re
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hyperhive.problem import Problem

OBJECT_MAX = 1024 * 1024  # bytes of an object
CHUNK = 16 * 1024
PACKS_MAX = 100
NAMES_MAX = 10_000  # in the folder of the packs
DEPTH_MAX = 60  # deltas upon deltas; git makes 50
KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
OFFSET_DELTA, NAME_DELTA = 6, 7
HEADER = 8
FANOUT = 256 * 4

Object = tuple[str, bytes]


def corrupt(name: str) -> Problem:
    return Problem("bad-repository", f"{name} is damaged, or has changed while it was read")


def too_large(name: str) -> Problem:
    return Problem("too-large", f"{name} is over {OBJECT_MAX} bytes")


def pread(fd: int, size: int, offset: int) -> bytes:
    """Fewer bytes only at the end of the file."""
    data = b""
    while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


def inflate(chunk: Callable[[int], bytes], name: str) -> bytes:
    """What unpacks from the chunks at 0, CHUNK, 2 * CHUNK…; neither side may be large."""
    unpack = zlib.decompressobj()
    parts, size = [], 0
    try:
        for at in range(0, 2 * OBJECT_MAX, CHUNK):
            data = chunk(at)
            part = unpack.decompress(data, OBJECT_MAX + 1 - size)
            parts.append(part)
            size += len(part)
            if size > OBJECT_MAX:
                raise too_large(name)
            if unpack.eof:
                return b"".join(parts)
            if not data:
                break
    except zlib.error as e:
        raise corrupt(name) from e
    raise corrupt(name)


def names(folder: int) -> list[str]:
    found = []
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count == NAMES_MAX:
                break
            if re.fullmatch(r"pack-[0-9a-f]{40}\.idx", entry.name):
                found.append(entry.name.removesuffix(".idx"))
        else:
            if len(found) <= PACKS_MAX:
                return sorted(found)
    raise Problem("too-large", "the repository has too many packs", hint="run git gc in it")


@dataclass(frozen=True)
class Pack:
    name: str
    index: int  # file descriptors
    pack: int
    end: float  # CLOCK_MONOTONIC: until then it must have been read

    def at(self, offset: int, size: int) -> bytes:
        data = pread(self.index, size, offset)
        if len(data) != size:
            raise corrupt(self.name)
        return data

    def offset(self, number: str) -> int | None:
        """Where in the pack an object begins."""
        wanted = bytes.fromhex(number)
        if self.at(0, HEADER) != b"\377tOc\0\0\0\2":
            raise corrupt(self.name)
        fanout = struct.unpack(">256I", self.at(HEADER, FANOUT))
        low, high, count = (fanout[wanted[0] - 1] if wanted[0] else 0), fanout[wanted[0]], fanout[255]
        while low < high:
            middle = (low + high) // 2
            there = self.at(HEADER + FANOUT + 20 * middle, 20)
            if there == wanted:
                return self.position(middle, count)
            low, high = (middle + 1, high) if there < wanted else (low, middle)
        return None

    def position(self, entry: int, count: int) -> int:
        offsets = HEADER + FANOUT + 24 * count
        (offset,) = struct.unpack(">I", self.at(offsets + 4 * entry, 4))
        if offset >> 31:
            (offset,) = struct.unpack(">Q", self.at(offsets + 4 * count + 8 * (offset & 0x7FFFFFFF), 8))
        return int(offset) & 0x7FFFFFFFFFFFFFFF

    def read(self, offset: int, find: Callable[[str, int], Object | None], depth: int) -> Object:
        """What is so many deltas deep already; `find` gives the object that one of them names."""
        deltas: list[bytes] = []
        while len(deltas) + depth < DEPTH_MAX:
            self.hurry()
            code, size, header = self.header(offset)
            if code in KINDS:
                return self.patched((KINDS[code], self.unpacked(offset + header, size)), deltas)
            if code == OFFSET_DELTA:
                back, length = self.distance(offset + header)
                deltas.append(self.unpacked(offset + header + length, size))
                offset -= back
                if offset <= 0 or not back:
                    break
            elif code == NAME_DELTA:
                base = pread(self.pack, 20, offset + header).hex()
                deltas.append(self.unpacked(offset + header + 20, size))
                found = find(base, depth + len(deltas))
                if not found:
                    break
                return self.patched(found, deltas)
            else:
                break
        raise corrupt(self.name)

    def patched(self, base: Object, deltas: list[bytes]) -> Object:
        kind, data = base
        for delta in reversed(deltas):
            self.hurry()
            try:
                data = patch(data, delta, self.name)
            except IndexError as e:
                raise corrupt(self.name) from e
        return kind, data

    def hurry(self) -> None:
        if time.monotonic() > self.end:
            raise Problem("too-large", f"{self.name} takes too long to read", hint="run git gc there")

    def header(self, offset: int) -> tuple[int, int, int]:
        """An object's type, its size, and how long the header is that says so."""
        data = pread(self.pack, 10, offset)
        if not data:
            raise corrupt(self.name)
        size, shift = data[0] & 15, 4
        for length, byte in enumerate(data, 1):
            if length > 1:
                size |= (byte & 127) << shift
                shift += 7
            if not byte & 128:
                return data[0] >> 4 & 7, size, length
        raise corrupt(self.name)

    def distance(self, offset: int) -> tuple[int, int]:
        """How far back a delta's base is, and how long the number is that says so."""
        value = -1
        for length, byte in enumerate(pread(self.pack, 10, offset), 1):
            value = (value + 1) << 7 | byte & 127
            if not byte & 128:
                return value, length
        raise corrupt(self.name)

    def unpacked(self, offset: int, size: int) -> bytes:
        if size > OBJECT_MAX:
            raise too_large(f"an object of {self.name}")
        data = inflate(lambda at: pread(self.pack, CHUNK, offset + at), self.name)
        if len(data) != size:
            raise corrupt(self.name)
        return data


def number(delta: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = delta[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return value, at


def patch(base: bytes, delta: bytes, name: str) -> bytes:
    before, at = number(delta, 0)
    after, at = number(delta, at)
    if after > OBJECT_MAX:
        raise too_large(f"an object of {name}")
    parts, size = [], 0
    while at < len(delta) and size <= after:
        code = delta[at]
        at += 1
        if code & 128:
            where, length, at = copied(delta, code, at)
            part = base[where : where + length]
            if len(part) != length:
                raise corrupt(name)
        else:
            part, length, at = delta[at : at + code], code, at + code
        if not length:
            raise corrupt(name)  # code 0 is reserved, and a copy of nothing would never end
        parts.append(part)
        size += len(part)
    data = b"".join(parts)
    if len(base) != before or len(data) != after:
        raise corrupt(name)
    return data


def copied(delta: bytes, code: int, at: int) -> tuple[int, int, int]:
    where = length = 0
    for bit in range(7):
        if code >> bit & 1:
            if bit < 4:
                where |= delta[at] << 8 * bit
            else:
                length |= delta[at] << 8 * (bit - 4)
            at += 1
    return where, length or 0x10000, at
