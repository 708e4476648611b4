"""Percentiles and sizes, the same everywhere a figure is printed."""

from __future__ import annotations

import math
import re

MIB = 1024 * 1024
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|B)?", re.ASCII)
_UNIT = {None: 1, "B": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank: the smallest value that at least `percent` % of the values do not exceed. Of few values a high
    percentile is simply the largest. ValueError on none."""
    if not values:
        raise ValueError("percentile of no values")
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(1, min(rank, len(ordered))) - 1]


def parse_size(text: str) -> int:
    """"300MiB" → bytes. ValueError names the text."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size; write for example 300MiB or 4KiB")
    return int(float(match[1]) * _UNIT[match[2]])


def mib(size: float) -> float:
    return size / MIB
