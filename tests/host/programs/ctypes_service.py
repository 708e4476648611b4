"""Drives libmemgov's C interface from Python alone, by ctypes, with an observer and a pressure hook.

    ctypes_service.py LIBRARY MIB CACHE_MIB

Grows to MIB of blocks of glibc's malloc, frees nine tenths, and works on the rest until its standard input ends. One JSON
object a line.
"""

import collections
import ctypes
import json
import sys
import threading

OUTCOME = 4


class Event(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("kind", ctypes.c_int), ("at_ns", ctypes.c_uint64), ("text", ctypes.c_char_p),
                ("enforcing", ctypes.c_int), ("directive_id", ctypes.c_uint64), ("action", ctypes.c_int),
                ("level", ctypes.c_int), ("bytes", ctypes.c_uint64), ("outcome", ctypes.c_int),
                ("before_bytes", ctypes.c_uint64), ("after_bytes", ctypes.c_uint64), ("wall_ns", ctypes.c_uint64)]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
ON_EVENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Event))


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("socket", ctypes.c_char_p), ("name", ctypes.c_char_p), ("log", LOG),
                ("on_event", ON_EVENT), ("user", ctypes.c_void_p), ("local", ctypes.c_int)]


class Pressure(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("level", ctypes.c_int), ("bytes", ctypes.c_uint64), ("until_ns", ctypes.c_uint64)]


GIVE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.POINTER(Pressure))


class Hook(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("priority", ctypes.c_int), ("give", GIVE),
                ("user", ctypes.c_void_p)]


def say(**line) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    library.memgov_version.restype = ctypes.c_char_p
    library.memgov_off_pressure.argtypes = [ctypes.c_uint64]
    cache: collections.deque[bytes] = collections.deque()

    def on_event(_, event):
        told = event.contents
        if told.kind == OUTCOME:
            say(outcome=told.outcome, action=told.action, before_mib=told.before_bytes >> 20, after_mib=told.after_bytes >> 20)

    def give(_, pressure):
        wanted, given = pressure.contents.bytes, 0
        while given < wanted and cache:
            given += len(cache.popleft())
        say(gave=given)
        return given

    observer, giver = ON_EVENT(on_event), GIVE(give)  # kept for as long as the agent may call them
    handle = ctypes.c_uint64()
    hook = Hook(ctypes.sizeof(Hook), b"blocks", 0, giver, None)
    assert library.memgov_on_pressure(ctypes.byref(hook), ctypes.byref(handle)) == 0
    options = Options(ctypes.sizeof(Options), None, b"ctypes", LOG(), observer, None, 0)
    assert library.memgov_start(ctypes.byref(options)) == 0

    blocks = [bytes([number % 251]) * 4000 for number in range(int(sys.argv[2]) * 256)]
    kept = [block for number, block in enumerate(blocks) if number % 2560 < 256]
    del blocks
    cache.extend(b"\7" * 100_000 for _ in range(int(sys.argv[3]) * 10))
    say(ready=True, version=library.memgov_version().decode())

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(0.05):
        assert all(block == block[:1] * 4000 for block in kept)
    library.memgov_stop()
    assert library.memgov_off_pressure(handle) == 0
    assert library.memgov_status() == 0
    say(final=True)


if __name__ == "__main__":
    main()
