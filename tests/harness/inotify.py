"""What is made and written in a directory while a test looks: the kernel tells, whoever does it (inotify)."""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct

_MODIFY, _CREATE = 0x2, 0x100
_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name


class DirectoryWatch:
    """Names of what was made or written directly in some directories since the watch began."""

    def __init__(self, *directories: pathlib.Path):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._made: set[str] = set()
        self._written: set[str] = set()
        for directory in directories:
            if self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _MODIFY | _CREATE) < 0:
                raise OSError(ctypes.get_errno(), f"watching {directory}")

    def made(self) -> set[str]:
        self._read()
        return set(self._made)

    def written(self) -> set[str]:
        self._read()
        return set(self._written)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> "DirectoryWatch":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _read(self) -> None:
        while True:
            try:
                events = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            at = 0
            while at < len(events):
                _, mask, _, length = _HEAD.unpack_from(events, at)
                name = os.fsdecode(events[at + _HEAD.size:at + _HEAD.size + length].rstrip(b"\0"))
                at += _HEAD.size + length
                if mask & _CREATE:
                    self._made.add(name)
                if mask & _MODIFY:
                    self._written.add(name)
