"""What a hostile tenant can send to the governor's socket: one entry a kind, for the benchmark and for the tests of the suite.

An attack is data: what a connection begins with, what it then repeats, on how many connections (tests/bench/flooder.cc).
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct

from . import http2
from .cgroups import Cgroup
from .http2 import Kind
from .processes import Service

OPENED = http2.PREFACE + http2.settings()
_CALL = http2.call_headers()
_UNKNOWN = http2.call_headers("/x/y")
_ATTACHED = OPENED + http2.headers(1, _CALL) + http2.data(1, http2.grpc(http2.hello("flood")))
_UNFINISHED = OPENED + http2.headers(1, _CALL, 0)
# Both go into the dynamic table or not as the attack says: 70 fields of 200 bytes; one of 3,900 bytes, then 16,000
# references to it.
_LITERALS = b"".join(http2.literal(f"x{number}", "v" * 200) for number in range(70))
_LARGE = http2.literal("x-bomb", "b" * 3900, index=True)
_INDEX_62 = b"\xbe"
_REPORTS = b"".join(http2.data(1, http2.grpc(http2.report(1 << 20))) for _ in range(200))


ONCE = 256 * 1024  # bytes


@dataclasses.dataclass(frozen=True)
class Attack:
    """`program` is the one of tests/bench that plays it, "" nobody. Field names as the options of flooder.cc."""

    name: str
    what: str
    prefix: bytes = b""
    chunk: bytes = b""
    mode: str = "send"
    connections: int = 64
    rate: int = 0
    deaf: bool = False
    program: str = "flooder"

    def start(self, build: pathlib.Path, directory: pathlib.Path, cgroup: Cgroup, socket: pathlib.Path, seconds: int,
              nice: int = 0) -> Service:
        """Begins, from within `cgroup`. Its last line counts what it did."""
        if self.program == "spinner":
            argv = ["/bin/sh", "-c", f'echo "{{\\"started\\":true}}"; for i in 1 2; do timeout {seconds} sh -c '
                    '"while :; do :; done" & done; wait; echo "{}"']
        elif self.program == "churner":
            argv = [str(build / "tests/bench/bench_churner"), "--directory", str(cgroup.path), "--seconds", str(seconds),
                    "--rate", str(self.rate)]
        else:
            for part in ("prefix", "chunk"):
                (directory / part).write_bytes(getattr(self, part))
            argv = [str(build / "tests/bench/bench_flooder"), "--socket", str(socket), "--seconds", str(seconds), "--mode",
                    self.mode, "--connections", str(self.connections), "--rate", str(self.rate), "--prefix",
                    str(directory / "prefix"), "--chunk", str(directory / "chunk")] + ["--deaf"] * self.deaf
        service = Service("attacker", ["nice", "-n", str(nice), *argv], directory=directory, cgroup=cgroup)
        service.wait_for(lambda line: line.get("started"), 30, "started")
        return service


    def once(self) -> bytes:
        """What one connection sends, long enough to be noticed."""
        repeated = b""
        for stream in range(1, 2001, 2):
            if self.mode == "send" or len(repeated) > ONCE:
                break
            if self.mode == "resets":
                repeated += http2.headers(stream, self.chunk) + http2.reset(stream)
            else:
                repeated += http2.headers(stream, self.chunk, http2.END_HEADERS | http2.END_STREAM)
        if self.mode == "send" and self.chunk:
            repeated = self.chunk * (1 + ONCE // len(self.chunk))
        return self.prefix + repeated


def _continuation(block: bytes, times: int = 1) -> bytes:
    return http2.continuation(1, block) * times


# No attack: what the machine and the same load without the governor's socket cost the honest client.
CONTROLS = [
    Attack("calm", "nobody attacks", program=""),
    Attack("control", "two busy loops that leave memgovd alone", program="spinner"),
]
FLOODS = [
    Attack("continuation", "CONTINUATION of valid literals, never ended", _UNFINISHED, _continuation(_LITERALS)),
    Attack("continuation-empty", "CONTINUATION without content, never ended", _UNFINISHED, _continuation(b"", 1000)),
    Attack("reset-attach", "rapid reset of Attach", OPENED, _CALL, "resets"),
    Attack("reset-unknown", "rapid reset of an unknown path", OPENED, _UNKNOWN, "resets"),
    Attack("streams-attach", "streams of Attach, each ended at once", OPENED, _CALL, "streams"),
    Attack("streams-unknown", "streams on an unknown path", OPENED, _UNKNOWN, "streams"),
    Attack("hpack-string", "a header field of 1 GiB is announced", _UNFINISHED +
           _continuation(b"\0" + http2.integer(1, 7) + b"z" + http2.integer(1 << 30, 7)), _continuation(b"A" * 16000)),
    Attack("hpack-varint", "an HPACK integer of zeros, without end", _UNFINISHED + _continuation(b"\0\x7f"),
           _continuation(b"\x80" * 16000)),
    Attack("hpack-bomb", "references to a large field of the dynamic table", OPENED + http2.headers(1, _CALL + _LARGE, 0),
           _continuation(_INDEX_62 * 16000)),
    Attack("reports", "reports without pause", _ATTACHED, _REPORTS),
    Attack("reports-one", "reports without pause on one connection", _ATTACHED, _REPORTS, connections=1),
    Attack("empty-data", "DATA without content", _ATTACHED, http2.data(1, b"") * 1000),
    Attack("empty-data-one", "DATA without content on one connection", _ATTACHED, http2.data(1, b"") * 1000, connections=1),
    Attack("ping", "PING without pause", OPENED, http2.ping() * 1000),
    Attack("settings", "SETTINGS without pause", OPENED, http2.settings((3, 100)) * 1000),
    Attack("window-flips", "SETTINGS that close and open the window", _ATTACHED,
           (http2.settings((4, 0)) + http2.settings((4, 65535))) * 500),
    Attack("window-updates", "WINDOW_UPDATE by a byte", OPENED, http2.window_update(0, 1) * 1000),
    Attack("priority", "PRIORITY without pause", OPENED,
           http2.frame(Kind.PRIORITY, struct.pack(">IB", 0, 1), stream=1) * 1000),
    Attack("reset-idle", "RST_STREAM of streams that never began", OPENED, http2.reset(1) * 1000),
    Attack("unknown-frames", "frames of a type that nobody knows", OPENED, http2.frame(0xBE, b"x" * 16000)),
    Attack("deaf-ping", "PING by a peer that never reads", OPENED, http2.ping() * 1000, deaf=True),
    Attack("deaf-settings", "SETTINGS by a peer that never reads", OPENED, http2.settings((3, 100)) * 1000, deaf=True),
    Attack("deaf-reports", "reports by a peer that never reads", _ATTACHED, _REPORTS, deaf=True),
    Attack("silent", "connections that say nothing"),
    Attack("connects", "400 connects a second, closed at once", mode="connects", rate=400),
    Attack("connect-storm", "connects at full speed, closed at once", mode="connects"),
    Attack("attach-leave", "attach and hang up, at full speed", _ATTACHED, mode="connects"),
    Attack("churn", "500 cgroups a second with evil names, made and removed", rate=500, program="churner"),
]
BY_NAME = {attack.name: attack for attack in CONTROLS + FLOODS}
