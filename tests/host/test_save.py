"""The main job: a service that the kernel kills without memgov lives with it. Real kernel, real kills."""

import os

from demo.run import Memgov, run
from demo.scene import Programs, Scene
from harness.cgroups import detect

from .conftest import BUILD, SCALE


def play(memgov: Memgov):
    scene = Scene.named("kill")
    if SCALE != 1:
        scene = scene.scaled(SCALE)
    return run(scene, Programs.find(BUILD), detect(), f"/memgov-demo-test-{os.getpid()}", memgov,
               lambda at, kind, text: print(f"{at or 0:8.3f} {kind}: {text}"))


def test_without_memgov_the_kernel_kills_redis():
    result = play(Memgov.OFF)
    assert [kill.task for kill in result.kills] == ["redis-server"]
    assert not result.completed["redis"]


def test_with_memgov_nobody_is_killed_and_everybody_finishes():
    result = play(Memgov.ON)
    assert result.kills == []
    assert all(result.completed.values()), result.completed
