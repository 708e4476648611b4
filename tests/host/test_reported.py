"""Services as people reported them. Each keeps memory that it has freed, until the kernel kills a neighbour; with the preload
it is given back in time. And two that have to be left alone."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from harness.processes import Service, ServiceError, wait_until

from .conftest import BUILD, DEADLINE, MIB
from .policies import ENFORCE

PRELOAD = BUILD / "client/c/libmemgov_preload.so"
PROGRAMS = pathlib.Path(__file__).with_name("programs")
SHARP = "0.33.5"  # of npm; wants Node 18.17
STEP = 4  # MiB that a neighbour takes at once
RATE = 60  # MiB a second


def program(name: str, package: str | None = None) -> str:
    found = shutil.which(name, path=f"/usr/bin:/usr/sbin:/bin:{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {package or name})")
    return found


def start(stage, name: str, *argv: str, env: dict[str, str] | None = None, **keywords) -> Service:
    return stage.start(name, *argv, env={"LD_PRELOAD": str(PRELOAD)} | (env or {}), **keywords)


def attached(stage, processes: int) -> None:
    wait_until(lambda: len({event["pid"] for event in stage.governor.of("attached")}) >= processes, DEADLINE,
               f"{processes} processes in a session")


def kills(stage) -> int:
    return sum(service.cgroup.oom_kills() for service in stage.services if service.cgroup)


def its_neighbour_lives(stage, size: int) -> None:
    """Somebody grows by `size` MiB, for which there is room only if the service gives back what it holds without need."""
    neighbour = stage.start("neighbour", "tests/workloads/hold_pages", commands=True)
    neighbour.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    held = stage.parent.usage() - stage.parent.stat()["inactive_file"]
    assert held + size * MIB > stage.parent.limit + 16 * MIB, f"{held // MIB} MiB held: there is room anyway"
    for taken in range(0, size, STEP):
        seen = len(neighbour.lines)
        try:
            neighbour.say(f"take {STEP}MiB")
            neighbour.wait_for(lambda line: line.get("taken"), DEADLINE, "memory taken", since=seen)
        except ServiceError as error:
            pytest.fail(f"at {taken} of {size} MiB: {error}")
        time.sleep(STEP / RATE)
    assert kills(stage) == 0 and neighbour.alive
    print(f"{held / MIB:.0f} MiB were held; with {size} more {stage.parent.usage() / MIB:.0f} of {stage.parent.limit / MIB:.0f} are used")


def rust(stage) -> str:
    """The program, built; skips where there is no compiler."""
    source, binary = PROGRAMS / "channel.rs", stage.directory / "channel"
    built = subprocess.run([program("rustc"), "-O", "-o", str(binary), str(source)], capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip(f"rustc does not work here: {built.stderr[-300:]}")
    return str(binary)


def sharp() -> str:
    """The directory with sharp, which npm fetches once; skips where it cannot."""
    cache = pathlib.Path(os.environ.get("MEMGOV_CACHE", BUILD)) / "node"
    manifest = cache / "node_modules/sharp/package.json"
    if not manifest.exists() or json.loads(manifest.read_text())["version"] != SHARP:
        cache.mkdir(parents=True, exist_ok=True)
        fetch = [program("npm"), "install", "--prefix", str(cache), "--no-save", "--no-audit", "--no-fund", f"sharp@{SHARP}"]
        try:
            fetched = subprocess.run(fetch, capture_output=True, text=True, timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not fetch sharp {SHARP} within {DEADLINE:.0f} s")
        if fetched.returncode != 0:
            pytest.skip(f"npm cannot fetch sharp {SHARP} here: {fetched.stderr.strip()[-300:]}")
    return str(cache / "node_modules")


def start_prefork(stage) -> list[Service]:
    return [start(stage, "prefork", program("python3"), str(PROGRAMS / "prefork.py"), "300", "4")]


def start_rust(stage) -> list[Service]:
    return [start(stage, "rust", rust(stage), "5000000")]


def start_ruby(stage) -> list[Service]:
    services = []
    for number in range(2):  # one after the other: at its peak one needs 330 MiB, and it keeps 200 to 310
        services.append(start(stage, f"ruby{number}", program("ruby"), str(PROGRAMS / "jobs.rb"), "120"))
        services[-1].wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return services


def start_sharp(stage) -> list[Service]:
    return [start(stage, "node", program("node", "nodejs"), str(PROGRAMS / "thumbnails.js"), "2", env={"NODE_PATH": sharp()})]


@pytest.mark.parametrize(("starts", "processes", "limit", "size"), [
    pytest.param(start_prefork, 5, 500, 320, id="workers-forked-from-a-master"),
    pytest.param(start_rust, 1, 450, 280, id="a-rust-worker-that-waits-on-a-channel"),
    pytest.param(start_ruby, 2, 800, 420, id="threads-of-ruby"),
    pytest.param(start_sharp, 1, 500, 300, id="native-image-work-in-node"),
])
def test_what_it_freed_is_there_for_its_neighbour(stage, starts, processes, limit, size):
    stage.parent.set_limit(limit * MIB)
    services = starts(stage)
    for service in services:
        service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    assert kills(stage) == 0, "there was no room for their own work"
    stage.govern(ENFORCE)  # only now: nobody asks while they work
    attached(stage, processes)
    its_neighbour_lives(stage, size)
    assert all(service.alive for service in services)


FPM = """\
[global]
error_log = {0}/fpm.log
daemonize = no
[www]
user = root
group = root
listen = {0}/fpm.sock
pm = static
pm.max_children = 3
clear_env = no
php_admin_value[memory_limit] = 1G
"""


def ask_php(stage, mib: int) -> subprocess.Popen:
    script = str(PROGRAMS / "report.php")
    env = os.environ | {"SCRIPT_FILENAME": script, "SCRIPT_NAME": "/report.php", "REQUEST_METHOD": "GET", "QUERY_STRING": f"mib={mib}"}
    return subprocess.Popen([program("cgi-fcgi", "libfcgi-bin"), "-bind", "-connect", str(stage.directory / "fpm.sock")], env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def answer(request: subprocess.Popen) -> str:
    return request.communicate(timeout=DEADLINE)[0].strip().splitlines()[-1]


def test_workers_of_php_give_back_what_a_large_report_left(stage):
    binary = program("php-fpm8.2")
    if not pathlib.Path("/etc/php/8.2/fpm/conf.d/20-dom.ini").exists():
        pytest.skip("PHP has no DOM extension (apt-get install php8.2-xml)")
    stage.parent.set_limit(500 * MIB)
    (stage.directory / "fpm.conf").write_text(FPM.format(stage.directory))
    php = start(stage, "php", binary, "-R", "-y", str(stage.directory / "fpm.conf"))
    wait_until((stage.directory / "fpm.sock").exists, DEADLINE, "PHP's socket")
    reports = [ask_php(stage, 80) for _ in range(3)]
    assert [answer(report) for report in reports] == ["288000"] * 3
    stage.govern(ENFORCE)
    attached(stage, 3)
    its_neighbour_lives(stage, 300)
    assert php.alive and answer(ask_php(stage, 1)) == "3600"


def test_the_agent_touches_no_file_that_took_a_descriptor_of_its_own(stage):
    """A daemon that closes whatever it does not know closes the agent's socket, too, and its own files take the numbers."""
    stage.govern(ENFORCE)
    (stage.directory / "data").mkdir()
    service = start(stage, "daemon", program("python3"), str(PROGRAMS / "closed_descriptors.py"), str(stage.directory / "data"), "40",
                    "4", commands=True)
    attached(stage, 1)
    service.say("close")
    final = service.wait_for(lambda line: line.get("final"), DEADLINE, "its look at its files")
    assert (final["stray_bytes"], final["closed"]) == (0, 0)
    assert service.process.wait(DEADLINE) == 0, service.last_words()


def test_a_file_that_is_written_is_no_need(stage):
    """Its dirty pages fill the limit, and the kernel writes them out. The cache beside it keeps all that it has."""
    stage.parent.set_limit(400 * MIB)
    governor = stage.govern(ENFORCE)
    cache = stage.start("cache", "tests/workloads/cache_glibc", "--cache", "100MiB", "--memgov")
    cache.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    attached(stage, 1)
    writer = stage.start("writer", program("dd", "coreutils"), "if=/dev/zero", f"of={stage.directory / 'file'}", "bs=1M", "count=700")
    assert writer.process.wait(DEADLINE) == 0, writer.last_words()
    peak = stage.parent.peak()
    assert peak is None or peak > 350 * MIB, "it filled the limit"
    assert cache.stop() == 0, cache.last_words()
    last = cache.lines[-1]
    assert last["errors"] == 0 and last["misses"] < last["work_done"] // 100
    assert [event for event in governor.of("asked") if event["action"] == "shed"] == []
    assert governor.of("unsavable", "critical") == [] and kills(stage) == 0
