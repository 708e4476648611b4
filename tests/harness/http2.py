"""A client's side of the wire in plain bytes, for tests that say what no library would: HTTP/2 frames, header blocks, gRPC
messages and the protobuf messages of memgov.v1.Session.

What is sent is made by hand, so that it can be made wrong. What is heard is read as it should be: libnghttp2, which the C
client is built with, unpacks header blocks.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import os
import socket
import struct
import time
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ATTACH = "/memgov.v1.Session/Attach"
ROOM_WITHIN = struct.pack("ll", 0, 50_000)  # a struct timeval: kRoomWithin of client/c/agent.c
TIMEOUT = 30.0  # seconds; generous, a machine under attack is slow


class Kind(enum.IntEnum):
    """Types of frames (RFC 9113, section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8


# --- frames --------------------------------------------------------------------------------------------------
def frame(kind: int, payload: bytes = b"", *, stream: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """SETTINGS with (identifier, value) pairs."""
    return frame(Kind.SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def headers(stream: int, block: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(Kind.HEADERS, block, stream=stream, flags=flags)


def continuation(stream: int, block: bytes, flags: int = 0) -> bytes:
    return frame(Kind.CONTINUATION, block, stream=stream, flags=flags)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(Kind.DATA, payload, stream=stream, flags=flags)


def reset(stream: int, code: int = 8) -> bytes:
    """RST_STREAM, by default with CANCEL."""
    return frame(Kind.RST_STREAM, struct.pack(">I", code), stream=stream)


def ping(payload: bytes = b"12345678") -> bytes:
    return frame(Kind.PING, payload)


def window_update(stream: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, struct.pack(">I", increment), stream=stream)


# --- header blocks (RFC 7541) --------------------------------------------------------------------------------
def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """An HPACK integer with a prefix of so many bits; `first` has the bits before it."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    value -= most
    octets = [first | most]
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes([*octets, value])


def literal(name: str, value: str, *, index: bool = False) -> bytes:
    """A field with a new name and no Huffman code; `index` puts it into the peer's dynamic table."""
    return (bytes([0x40 if index else 0]) + integer(len(name), 7) + name.encode() + integer(len(value), 7) +
            value.encode())


def call_headers(path: str = ATTACH, *more: tuple[str, str]) -> bytes:
    """The header block of a gRPC call."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("te", "trailers"),
              ("content-type", "application/grpc"), *more]
    return b"".join(literal(name, value) for name, value in fields)


class _Field(ctypes.Structure):
    """nghttp2_nv"""

    _fields_ = [("name", ctypes.POINTER(ctypes.c_uint8)), ("value", ctypes.POINTER(ctypes.c_uint8)),
                ("name_length", ctypes.c_size_t), ("value_length", ctypes.c_size_t), ("flags", ctypes.c_uint8)]


class HeaderReader:
    """Unpacks the header blocks of one connection, in their order."""

    _FINAL, _EMIT = 1, 2  # NGHTTP2_HD_INFLATE_*

    def __init__(self) -> None:
        library = ctypes.CDLL("libnghttp2.so.14")
        library.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self._library = library
        self._inflater = ctypes.c_void_p()
        if library.nghttp2_hd_inflate_new(ctypes.byref(self._inflater)) != 0:
            raise MemoryError("nghttp2_hd_inflate_new")

    def __del__(self) -> None:
        if getattr(self, "_inflater", None):
            self._library.nghttp2_hd_inflate_del(self._inflater)

    def read(self, block: bytes) -> dict[str, str]:
        """The fields of one whole block. ValueError when it is none."""
        fields: dict[str, str] = {}
        entry, flags = _Field(), ctypes.c_int()
        while True:
            used = self._library.nghttp2_hd_inflate_hd2(
                self._inflater, ctypes.byref(entry), ctypes.byref(flags), ctypes.c_char_p(block),
                ctypes.c_size_t(len(block)), 1)
            if used < 0:
                raise ValueError(f"no header block: nghttp2 error {used}")
            block = block[used:]
            if flags.value & self._EMIT:
                name, value = (ctypes.string_at(at, length).decode(errors="replace")
                               for at, length in ((entry.name, entry.name_length), (entry.value, entry.value_length)))
                fields[name] = value
            if flags.value & self._FINAL:
                self._library.nghttp2_hd_inflate_end_headers(self._inflater)
                return fields


# --- messages ------------------------------------------------------------------------------------------------
def grpc(message: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return b"\0" + struct.pack(">I", len(message)) + message


def varint(value: int) -> bytes:
    octets = []
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes([*octets, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def text(field: int, value: str | bytes) -> bytes:
    """A string, bytes or an embedded message."""
    octets = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(octets)) + octets


def hello(name: str = "peer", *, runtime: str = "none", client: str = "raw", release: bool = True) -> bytes:
    return text(1, text(1, runtime) + text(2, client) + text(3, name) + text(4, number(2, release)))


def report(retained: int = 0, *, live: int = 0, kind: int = 1) -> bytes:
    return text(2, number(1, live) + number(2, retained) + number(3, kind))


def outcome(directive: int, *, status: int = 1, before: int = 0, after: int = 0, why: str = "") -> bytes:
    return text(3, number(1, directive) + number(2, status) + text(3, why) + number(4, before) + number(5, after))


def fields(message: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a protobuf message by number. ValueError when it is cut off or has a kind that is not used here."""
    found: dict[int, list[int | bytes]] = {}
    at = 0

    def read_varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(message):
                raise ValueError("a message that is cut off")
            octet = message[at]
            at += 1
            value |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return value

    while at < len(message):
        tag = read_varint()
        value: int | bytes
        if tag & 7 == 0:
            value = read_varint()
        elif tag & 7 in (1, 2, 5):
            length = read_varint() if tag & 7 == 2 else 8 if tag & 7 == 1 else 4
            value, at = message[at:at + length], at + length
            if at > len(message):
                raise ValueError("a message that is cut off")
        else:
            raise ValueError(f"wire type {tag & 7}")
        found.setdefault(tag >> 3, []).append(value)
    return found


@dataclasses.dataclass(frozen=True)
class Welcome:
    cgroup: str
    container: str
    enforcing: bool
    report_every_ms: int


@dataclasses.dataclass(frozen=True)
class Directive:
    id: int
    bytes: int
    level: int


@dataclasses.dataclass(frozen=True)
class End:
    """How the governor ended the stream: "status" (trailers with a grpc-status), "reset", "goaway" (HTTP/2 error codes) or
    "closed" without a word."""

    how: str
    code: int = 0
    text: str = ""


Said = Welcome | Directive | End


def said(message: bytes) -> Welcome | Directive:
    """What a GovernorMessage holds."""
    body = fields(message)
    inner = fields((body.get(1) or body[2])[0])
    first = {key: values[0] for key, values in inner.items()}
    if 1 in body:
        return Welcome(first.get(1, b"").decode(), first.get(2, b"").decode(), bool(first.get(3, 0)), first.get(4, 0))
    action = next((fields(first[key]) for key in (7, 8, 9) if key in first), {})
    return Directive(first.get(1, 0), action.get(1, [0])[0], first.get(4, 0))


# --- a connection --------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Connection:
    """One raw connection. It answers SETTINGS and PING, widens windows as it reads, and does nothing else by itself. Who it is to
    the governor is the process that makes it: harness.peer is one to start in a cgroup."""

    def __init__(self, path: str | os.PathLike | socket.socket, timeout: float = TIMEOUT):
        """`path` is that of the governor's socket, or a socket that is connected already. OSError as connect()."""
        self._timeout = timeout
        if isinstance(path, socket.socket):
            self.socket = path
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            # As clients do, it blocks for a moment where the listen queue is full; BlockingIOError: it was all the time.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, ROOM_WITHIN)
            self.socket.connect(os.fspath(path))
        self._received = b""
        self._messages = b""
        self._block = b""
        self._closed = False
        self._headers = HeaderReader()

    def send(self, octets: bytes) -> None:
        """OSError when the governor has hung up."""
        self.socket.settimeout(self._timeout)
        self.socket.sendall(octets)

    def start(self, messages: Iterable[bytes] = (), *, path: str = ATTACH) -> None:
        """Preface, SETTINGS, and stream 1 with these messages."""
        self.send(PREFACE + settings() + headers(1, call_headers(path)) +
                  b"".join(data(1, grpc(message)) for message in messages))

    def say(self, message: bytes) -> None:
        self.send(data(1, grpc(message)))

    def frame(self, timeout: float | None = None) -> Frame | None:
        """The next frame; None once the connection is closed. TimeoutError."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        while not self._closed:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) >= 9 + length:
                kind, flags = self._received[3], self._received[4]
                stream = int.from_bytes(self._received[5:9], "big") & 0x7FFFFFFF
                heard = Frame(kind, flags, stream, self._received[9:9 + length])
                self._received = self._received[9 + length:]
                self._answer(heard)
                return heard
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the governor says nothing")
            self.socket.settimeout(left)
            try:
                octets = self.socket.recv(65536)
            except ConnectionError:
                octets = b""
            self._received += octets
            self._closed = not octets
        return None

    def _answer(self, heard: Frame) -> None:
        answer = b""
        if heard.kind in (Kind.SETTINGS, Kind.PING) and not heard.flags & ACK:
            answer = frame(heard.kind, heard.payload if heard.kind == Kind.PING else b"", flags=ACK)
        elif heard.kind == Kind.DATA and heard.payload:
            answer = window_update(0, len(heard.payload))
            if not heard.flags & END_STREAM:
                answer += window_update(heard.stream, len(heard.payload))
        try:
            if answer:
                self.send(answer)
        except OSError:
            pass  # gone; what it said before it went is still to be read

    def next(self, timeout: float | None = None) -> Said:
        """The next message, or how stream 1 ended. TimeoutError."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        while True:
            length = int.from_bytes(self._messages[1:5], "big")
            if len(self._messages) >= 5 + length:
                message, self._messages = self._messages[5:5 + length], self._messages[5 + length:]
                return said(message)
            heard = self.frame(max(0.0, deadline - time.monotonic()))
            if heard is None:
                return End("closed")
            if heard.kind == Kind.DATA:
                self._messages += heard.payload
            elif heard.kind == Kind.RST_STREAM:
                return End("reset", int.from_bytes(heard.payload, "big"))
            elif heard.kind == Kind.GOAWAY:
                return End("goaway", int.from_bytes(heard.payload[4:8], "big"), heard.payload[8:].decode(errors="replace"))
            elif heard.kind in (Kind.HEADERS, Kind.CONTINUATION):
                ended = self._header_frame(heard)
                if ended:
                    return ended

    def _header_frame(self, heard: Frame) -> End | None:
        self._block += heard.payload
        if not heard.flags & END_HEADERS:
            return None
        block, self._block = self._block, b""
        trailers = self._headers.read(block)
        if "grpc-status" not in trailers:
            return None
        return End("status", int(trailers["grpc-status"]), trailers.get("grpc-message", ""))

    def until_end(self, timeout: float | None = None) -> End:
        """Reads on until the stream ends. TimeoutError."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        while True:
            heard = self.next(max(0.0, deadline - time.monotonic()))
            if isinstance(heard, End):
                return heard

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def attach(path: str | os.PathLike, name: str = "peer", timeout: float = TIMEOUT) -> tuple[Connection, Said]:
    """Attaches as an honest client does: the connection, and a Welcome or why not. OSError, TimeoutError."""
    connection = Connection(path, timeout)
    try:
        connection.start([hello(name)])
        return connection, connection.next(timeout)
    except BaseException:
        connection.close()
        raise
