"""The same story once more, from the journal that memgovd kept: decided again by the engine, and played again by the
simulator. Both have to tell what happened."""

from __future__ import annotations

import json
import pathlib
import subprocess

from .result import Result
from .scene import POLICY, DemoError

TIMEOUT = 300.0  # seconds


def lines(memgovctl: pathlib.Path, journal: pathlib.Path, without: Result, with_: Result) -> list[str]:
    """For people. What goes wrong here takes nothing from the runs, so it is a line too."""
    try:
        replayed = _ask(memgovctl, "replay", "--json", str(journal))
        node = _ask(memgovctl, "simulate", "--json", "--journal", str(journal), "--policy", str(POLICY))
    except DemoError as error:
        return [f"  not told again: {error}"]
    same = "identical" if replayed["identical"] else "NOT identical"
    arms = {arm["name"]: arm["killed"] for arm in node["arms"]}
    offset = node["begins_s"] - with_.zero
    return [f"  replayed   {replayed['decisions']} decisions of {replayed['ticks']} ticks: {same}",
            f"  simulated  without memgov: {_simulated(arms['nothing'], offset)} (really: {_real(without)})",
            f"             with memgov: {_simulated(arms['policy'], offset)} (really: {_real(with_)})"]


def _ask(memgovctl: pathlib.Path, *arguments: str) -> dict:
    try:
        done = subprocess.run([str(memgovctl), *arguments], capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"memgovctl {' '.join(arguments)}: not done after {TIMEOUT:.0f} s") from error
    if done.returncode not in (0, 1) or not done.stdout:
        raise DemoError(f"memgovctl {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _simulated(killed: list[dict], offset: float) -> str:
    """Times count from the begin of the filling, as the demo's do."""
    return ", ".join(f"{pathlib.PurePath(kill['victim']).name} is killed at {kill['s'] + offset:.2f} s"
                     for kill in killed) or "nobody is killed"


def _real(result: Result) -> str:
    return ", ".join(f"{kill.tenant} at {kill.at:.2f} s" for kill in result.kills) or "nobody"
