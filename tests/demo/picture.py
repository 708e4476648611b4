"""The timeline of both runs as one SVG: who holds the memory under the limit, and what happened when.

Two panels share both axes, so that the same growth can be followed to its two ends. Colours: the idle services in
greys and blues, the one that works in strong teal, what kills in red, what memgov does in amber and green.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from xml.sax.saxutils import escape

from harness.figures import MIB

from . import scene as stage
from .result import Result, requests

WIDTH, LEFT, RIGHT = 1280, 84, 40
PANEL, TOP, BETWEEN, BOTTOM = 300, 156, 100, 84
INK, SOFT, GRID, PAPER = "#1d2733", "#66727f", "#e3e8ed", "#ffffff"
RED, AMBER, GREEN = "#c62828", "#b26a00", "#2e7d32"
FILLS = {"jemalloc": "#a9bdd3", "glibc": "#cfdae5", "go": "#c3b8d6", "redis": "#1f9e94"}
STALL_WORDS = {"kill": "", "stall": " Code pages count, too."}
LABEL = 165  # points that a short label needs
BEFORE = 1.0  # seconds shown before the filling begins


class _Frame:
    """Maps seconds and MiB of one panel to points."""

    def __init__(self, top: float, span: tuple[float, float], highest: float):
        self.top, self.span, self.highest = top, span, highest

    def x(self, second: float) -> float:
        share = (second - self.span[0]) / (self.span[1] - self.span[0])
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, mib: float) -> float:
        return round(self.top + PANEL * (1 - min(mib, self.highest) / self.highest), 1)


def _text(x: float, y: float, words: str, *, size: int = 14, fill: str = INK, anchor: str = "start",
          weight: str = "normal") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def _tag(x: float, y: float, words: str, colour: str, *, anchor: str = "start", size: int = 14) -> str:
    """A label with a white halo, readable over bands and lines."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="bold" '
            f'stroke="{PAPER}" stroke-width="5" stroke-linejoin="round" paint-order="stroke">{escape(words)}</text>')


def _beside(x: float, gap: float, y: float, words: str, colour: str) -> str:
    """A label to the right of `x`, or to its left where the picture ends."""
    if x + gap + 9 * len(words) > WIDTH - RIGHT - LABEL:
        return _tag(x - gap, y, words, colour, anchor="end")
    return _tag(x + gap, y, words, colour)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def thin_out(result: Result, span: tuple[float, float], points: int = 700) -> list[int]:
    """Indices of readings to draw: per pixel column the one with the highest total, so that no peak is lost."""
    best: dict[int, int] = {}
    total = result.usage_mib["total"]
    for i, second in enumerate(result.time_s):
        if span[0] <= second <= min(span[1], result.ended_at):
            column = int((second - span[0]) / (span[1] - span[0]) * points)
            if column not in best or total[i] > total[best[column]]:
                best[column] = i
    return [best[column] for column in sorted(best)]


def _axes(frame: _Frame, step_s: int, step_mib: int, with_seconds: bool) -> list[str]:
    parts = []
    for mib in range(0, int(frame.highest) + 1, step_mib):
        y = frame.y(mib)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, GRID))
        parts.append(_text(LEFT - 12, y + 4.5, f"{mib}", size=13, fill=SOFT, anchor="end"))
    parts.append(_text(LEFT - 12, frame.top - 14, "MiB", size=13, fill=SOFT, anchor="end"))
    for second in range(0, int(frame.span[1]) + 1, step_s):
        x = frame.x(second)
        parts.append(_line(x, frame.top + PANEL, x, frame.top + PANEL + 5, SOFT))
        if with_seconds:
            parts.append(_text(x, frame.top + PANEL + 22, f"{second} s", size=13, fill=SOFT, anchor="middle"))
    return parts


def _bands(frame: _Frame, result: Result) -> list[str]:
    """The tenants' usage, stacked, idle ones below."""
    chosen = thin_out(result, frame.span)
    if not chosen:
        return []
    parts, base = [], [0.0] * len(chosen)
    for name in stage.TENANTS:
        column = result.usage_mib[name]
        top = [low + column[i] for low, i in zip(base, chosen)]
        up = [f"{frame.x(result.time_s[i])},{frame.y(high)}" for i, high in zip(chosen, top)]
        down = [f"{frame.x(result.time_s[i])},{frame.y(low)}" for i, low in zip(chosen, base)]
        parts.append(f'<polygon points="{" ".join(up + down[::-1])}" fill="{FILLS[name]}" stroke="{PAPER}" '
                     'stroke-width="0.8"/>')
        base = top
    return parts


def _levels(frame: _Frame, result: Result) -> list[str]:
    limit, wire = frame.y(result.scene.limit / MIB), frame.y(result.scene.wire / MIB)
    return [_line(LEFT, limit, WIDTH - RIGHT, limit, RED, 2),
            _line(LEFT, wire, WIDTH - RIGHT, wire, AMBER, 1.5, "7 5"),
            _text(WIDTH - RIGHT, limit - 8, f"limit {result.scene.limit / MIB:.0f} MiB", size=13, fill=RED, anchor="end",
                  weight="bold"),
            _tag(WIDTH - RIGHT, wire - 7, f"wire {result.scene.wire_percent:.0f} %", AMBER, anchor="end", size=13)]


def _held(frame: _Frame, result: Result) -> list[str]:
    """In each idle band, what it holds and what it needs, while it is high enough to be written into."""
    start = min(range(len(result.time_s)), key=lambda i: abs(result.time_s[i]), default=None)
    if start is None or (result.asked_at is not None and frame.x(result.asked_at) - frame.x(0.0) < LABEL - 10):
        return []
    parts, base = [], 0.0
    for name in stage.SERVICES:
        size = result.usage_mib[name][start]
        if frame.y(base) - frame.y(base + size) > 24:
            needed = 0.1 * result.scene.service + (0 if name == "go" else result.scene.code)
            words = f"{size:.0f} MiB held, {needed / MIB:.0f} in use"
            parts.append(_text(frame.x(0.0) - 4, frame.y(base + size / 2) + 4.5, words, size=13))
        base += size
    return parts


def _marks(frame: _Frame, result: Result) -> list[str]:
    """Kills, requests and what came back, each at its moment."""
    parts, bottom, limit = [], frame.top + PANEL, frame.y(result.scene.limit / MIB)
    between = (limit + frame.y(result.scene.wire / MIB)) / 2 + 5
    for kill in result.kills:
        x = frame.x(kill.at)
        parts += [_line(x, limit, x, bottom, RED, 2),
                  f'<circle cx="{x}" cy="{limit}" r="10" fill="{RED}" stroke="{PAPER}" stroke-width="2"/>',
                  _line(x - 4, limit - 4, x + 4, limit + 4, PAPER, 2.2),
                  _line(x - 4, limit + 4, x + 4, limit - 4, PAPER, 2.2),
                  _beside(x, 16, between, f"{kill.at:.1f} s: the kernel kills {kill.task}", RED)]
    for x in sorted({frame.x(event["s"]) for event in requests(result)}):
        parts.append(_line(x, limit, x, bottom, AMBER, 1.2))
    begun = result.asked_at if result.started_at is None else result.started_at
    if begun is None:
        return parts
    x = frame.x(begun)
    begin = f"{begun:.1f} s: memgov " + ("asks" if result.started_at is None else "starts")
    answer = f"{result.first_round_mib:.0f} MiB come back"
    if result.returned_at is not None:
        answer += f" within {(result.returned_at - begun) * 1000:.0f} ms"
    if result.started_at is not None:
        parts.append(_line(x, limit, x, bottom, AMBER, 1.2, "3 3"))
    if x - LEFT > LABEL:
        parts += [_tag(x - 10, between, begin, AMBER, anchor="end"), _tag(x + 10, between, answer, GREEN)]
    else:
        parts.append(_tag(x + 10, between, f"{begin}, {answer}", GREEN))
    return parts


def headline(result: Result) -> tuple[str, str]:
    """What a panel shows, and its colour."""
    written, wanted = result.fill.get("written_mib", 0), result.scene.fill / MIB
    start = "With memgov: " if result.memgov else "Without memgov: "
    if result.started_at is not None and result.flowing_at is not None and not result.kills:
        return f"memgov started into the stall: redis is filled again {result.flowing_at - result.started_at:.1f} s later", GREEN
    if result.kills:
        kill = result.kills[0]
        return start + f"{kill.task} is killed after {written:.0f} of {wanted:.0f} MiB", RED
    if result.stalled:
        return start + f"nothing is killed, nothing moves: {written:.0f} of {wanted:.0f} MiB", RED
    if all(result.completed.values()):
        return start + f"nobody is killed, redis takes all {wanted:.0f} MiB", GREEN
    return start + "not all work was done", RED


def _legend(y: float) -> list[str]:
    parts, x = [], float(LEFT)
    words = {name: f"{stage.TITLES[name]}, idle" for name in stage.SERVICES} | {"redis": "redis-server, being filled"}
    for name in stage.TENANTS:
        parts.append(f'<rect x="{x}" y="{y - 11}" width="14" height="14" rx="3" fill="{FILLS[name]}"/>')
        parts.append(_text(x + 21, y + 1, words[name], size=14))
        x += 21 + 8.0 * len(words[name]) + 26
    return parts


def svg(results: list[Result]) -> str:
    """The picture of the given runs, one panel each, on common axes."""
    first = results[0].scene
    span = (-BEFORE, max([2.0] + [result.ended_at for result in results]))
    highest = first.limit / MIB * 1.06
    height = TOP + len(results) * PANEL + (len(results) - 1) * BETWEEN + BOTTOM
    step_mib = next(step for step in (25, 50, 100, 200, 400, 1000) if highest / step <= 7)
    step_s = next((step for step in (1, 2, 5, 10, 20) if span[1] / step <= 16), 60)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="DejaVu Sans, Verdana, sans-serif">',
             f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
             _text(LEFT, 44, f"Four services under one limit of {first.limit / MIB:.0f} MiB", size=24, weight="bold"),
             _text(LEFT, 70, f"Three grew to {first.service / MIB:.0f} MiB, freed 90 % of it and keep the pages. "
                             "redis is the only one with work to do." + STALL_WORDS[first.name], size=15, fill=SOFT),
             *_legend(98)]
    for index, result in enumerate(results):
        top = TOP + index * (PANEL + BETWEEN)
        frame = _Frame(top, span, highest)
        words, colour = headline(result)
        parts.append(_text(LEFT, top - 14, words, size=17, fill=colour, weight="bold"))
        parts += _axes(frame, step_s, step_mib, True)
        parts += _bands(frame, result) + _held(frame, result) + _levels(frame, result) + _marks(frame, result)
    parts.append(_text(WIDTH - RIGHT, height - 24, "seconds since the filling of redis began; memory as charged by the "
                       "kernel's memory controller", size=13, fill=SOFT, anchor="end"))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def write(results: list[Result], directory: pathlib.Path, name: str) -> list[pathlib.Path]:
    """NAME.svg and, where rsvg-convert is installed, NAME.png."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = directory / f"{name}.svg"
    drawn.write_text(svg(results))
    return [drawn, *rasterise(drawn)]


def rasterise(drawn: pathlib.Path) -> list[pathlib.Path]:
    """The PNG beside an SVG; nothing where rsvg-convert is not installed."""
    converter = shutil.which("rsvg-convert")
    if converter is None:
        return []
    image = drawn.with_suffix(".png")
    subprocess.run([converter, "--zoom", "1.5", "-o", str(image), str(drawn)], check=True)
    return [image]
