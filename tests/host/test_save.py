"""The main job: a service that the kernel kills without memgov lives with it. Real kernel, real kills."""

import json
import os

from demo.run import Memgov, run
from demo.scene import POLICY, Programs, Scene
from harness.cgroups import detect

from .conftest import BUILD, SCALE, ctl


def play(memgov: Memgov, journal=None):
    scene = Scene.named("kill")
    if SCALE != 1:
        scene = scene.scaled(SCALE)
    return run(scene, Programs.find(BUILD), detect(), f"/memgov-demo-test-{os.getpid()}", memgov,
               lambda at, kind, text: print(f"{at or 0:8.3f} {kind}: {text}"), journal)


def test_without_memgov_the_kernel_kills_redis():
    result = play(Memgov.OFF)
    assert [kill.task for kill in result.kills] == ["redis-server"]
    assert not result.completed["redis"]


def test_with_memgov_nobody_is_killed_and_everybody_finishes(tmp_path):
    journal = tmp_path / "journal"
    result = play(Memgov.ON, journal)
    assert result.kills == []
    assert all(result.completed.values()), result.completed
    told_again(journal)


def told_again(journal):
    """The journal has it all: the engine decides the same again, and in the simulator redis is killed without memgov."""
    replayed = json.loads(ctl("replay", "--json", journal).stdout)
    assert replayed["identical"] and replayed["decisions"] > 0
    table = ctl("simulate", "--journal", journal)
    assert table.returncode == 0 and "nothing: " in table.stdout, table.stderr
    told = ctl("simulate", "--journal", journal, "--policy", POLICY).stdout
    assert "the policy enforces in 5 of the cgroups" in told, told
    node = json.loads(ctl("simulate", "--journal", journal, "--json").stdout)
    killed = {arm["name"]: [kill["victim"].rpartition("/")[2] for kill in arm["killed"]] for arm in node["arms"]}
    assert killed["nothing"] and set(killed["nothing"]) == {"redis"}
    assert killed["defaults"] == [] and node["invariants_broken"] == 0
