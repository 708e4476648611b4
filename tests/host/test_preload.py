"""LD_PRELOAD=libmemgov_preload.so on programs as Debian ships them, against the real daemon: they attach, are asked, give
back, and end as they always do."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from harness.processes import wait_until

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE

PRELOAD = BUILD / "client/c/libmemgov_preload.so"
PROGRAMS = pathlib.Path(__file__).with_name("programs")
# Settings off: an eager jemalloc would give back before it is asked.
RELEASE = ENFORCE + "    actions: [release, collect]\n"


def program(name: str, package: str | None = None) -> str:
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {package or name})")
    return found


def start(stage, name: str, *argv: str, **keywords):
    """Starts a program under the preload, in a cgroup of its own."""
    env = {"LD_PRELOAD": str(PRELOAD)} | keywords.pop("env", {})
    return stage.start(name, *argv, env=env, **keywords)


def attached(stage, pid: int) -> None:
    wait_until(lambda: any(event["pid"] == pid for event in stage.governor.of("attached")), DEADLINE,
               f"process {pid} in a session")


def detached(stage, pid: int) -> None:
    wait_until(lambda: any(event["pid"] == pid for event in stage.governor.of("detached")), DEADLINE,
               f"the end of the session of process {pid}")


def threads_of(pid: int) -> list[str]:
    return sorted(task.read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").glob("*/comm"))


def asked_and_gave(stage, service) -> None:
    """Drives the parent over its wire and waits until this process has given back 100 MiB of 200."""
    held = service.cgroup.usage()
    stage.start_crosser(scaled(150)).say("cross 0")
    wait_until(lambda: sum(event["bytes"] for event in stage.governor.of("returned") if event["pid"] == service.pid)
               >= scaled(100), DEADLINE, "100 MiB from it")
    assert service.cgroup.usage() < held - scaled(100)
    assert stage.parent.oom_kills() == 0


class Redis:
    """A redis-server on a Unix socket of its own."""

    def __init__(self, stage, *arguments: str, env: dict | None = None):
        self.socket = stage.directory / "redis.sock"
        self.service = start(stage, "redis", program("redis-server"), "--port", "0", "--unixsocket", str(self.socket),
                             "--save", "", "--enable-debug-command", "yes", *arguments, env=env or {})
        wait_until(lambda: self.ask("PING") == "PONG", DEADLINE, "an answer of redis")

    def ask(self, *command: str) -> str:
        run = subprocess.run([program("redis-cli", "redis-tools"), "-s", str(self.socket), *command],
                             capture_output=True, text=True, timeout=DEADLINE)
        return run.stdout.strip()


def test_redis_gives_back_what_a_bulk_delete_left(stage):
    stage.govern(RELEASE)
    # jemalloc keeps what is free until it is asked: by default it would let go in 10 s, and a slow machine is slower.
    redis = Redis(stage, env={"MALLOC_CONF": "dirty_decay_ms:-1"})
    attached(stage, redis.service.pid)
    redis.ask("DEBUG", "POPULATE", str(scaled(200) // 1100), "key", "1000")
    redis.ask("SET", "kept", "value")
    redis.ask("EVAL", "for i = 0, ARGV[1] do redis.call('DEL', 'key:' .. i) end", "0", str(scaled(200) // 1100))
    asked_and_gave(stage, redis.service)
    assert redis.ask("GET", "kept") == "value"
    redis.ask("FLUSHALL")
    assert redis.ask("DBSIZE") == "0"
    assert redis.service.stop() == 0, redis.service.last_words()
    detached(stage, redis.service.pid)


def test_redis_that_daemonizes_attaches_as_the_daemon_and_not_for_its_snapshots(stage):
    stage.govern(RELEASE)
    pidfile = stage.directory / "redis.pid"
    redis = Redis(stage, "--daemonize", "yes", "--pidfile", str(pidfile), "--dir", str(stage.directory))
    pid = int(pidfile.read_text())
    try:
        assert pid != redis.service.pid
        attached(stage, pid)
        before = redis.ask("LASTSAVE")
        redis.ask("SET", "key", "value")
        assert "started" in redis.ask("BGSAVE")
        wait_until(lambda: "rdb_bgsave_in_progress:0" in redis.ask("INFO", "persistence"), DEADLINE, "the snapshot")
        assert "rdb_last_bgsave_status:ok" in redis.ask("INFO", "persistence"), before
        assert {event["pid"] for event in stage.governor.of("attached")} == {pid}
        assert "memgov" in threads_of(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
    detached(stage, pid)
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), DEADLINE, "its end")


def rust(directory: pathlib.Path) -> str:
    compiler = shutil.which("rustc")
    source, binary = PROGRAMS / "retain.rs", directory / "retain_rust"
    if compiler is None:
        pytest.skip("rustc is not installed (apt-get install rustc)")
    built = subprocess.run([compiler, "-O", "-o", str(binary), str(source)], capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip(f"rustc does not work here: {built.stderr[-300:]}")
    return str(binary)


@pytest.mark.parametrize("runtime", ["python", "node", "rust"])
def test_a_runtime_gives_back_what_it_freed(stage, runtime):
    stage.govern(RELEASE)
    command = {"python": lambda: [program("python3"), str(PROGRAMS / "retain.py")],
               "node": lambda: [program("node", "nodejs"), "--expose-gc", str(PROGRAMS / "retain.js")],
               "rust": lambda: [rust(stage.directory)]}[runtime]()
    service = start(stage, runtime, *command, str(scaled(200) // MIB))
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    attached(stage, service.pid)
    asked_and_gave(stage, service)
    assert service.alive, service.last_words()
    assert service.stop() == (-signal.SIGTERM if runtime == "rust" else 0), service.last_words()
    detached(stage, service.pid)


@pytest.mark.parametrize("wait", ["input", "recv", "child", "condition", "pause"])
def test_a_program_gives_back_wherever_it_waits(stage, wait):
    """Each in a call that it never leaves."""
    stage.govern(RELEASE)
    service = start(stage, wait, program("python3"), str(PROGRAMS / "retain.py"), str(scaled(200) // MIB), wait, commands=True)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    attached(stage, service.pid)
    asked_and_gave(stage, service)
    assert service.alive, service.last_words()


def test_memcached_attaches_and_serves(stage):
    stage.govern(RELEASE)
    path = stage.directory / "memcached.sock"
    service = start(stage, "memcached", program("memcached"), "-u", "root", "-s", str(path), "-m", "64")
    attached(stage, service.pid)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"set key 0 0 5\r\nvalue\r\nget key\r\n")
        answer = b""
        while b"END" not in answer:
            answer += connection.recv(1024)
    assert answer == b"STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n"
    assert service.stop() == 0, service.last_words()
    detached(stage, service.pid)


NGINX = """\
user root; daemon off; pid {0}/nginx.pid; error_log {0}/nginx.log; worker_processes 2;
events {{}}
http {{
  access_log off; client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0};
  scgi_temp_path {0};
  server {{ listen unix:{0}/http.sock; location / {{ return 200 "hello"; }} }}
}}
"""


def get(path: pathlib.Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_worker_of_nginx_attaches_when_it_has_worked_and_again_after_a_reload(stage):
    stage.govern(RELEASE)
    path = stage.directory / "http.sock"
    (stage.directory / "nginx.conf").write_text(NGINX.format(stage.directory))
    service = start(stage, "nginx", program("nginx", "nginx-light"), "-c", str(stage.directory / "nginx.conf"), "-e",
                    str(stage.directory / "nginx.log"))

    def answers() -> bool:
        try:
            return get(path).endswith(b"hello")
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    wait_until(answers, DEADLINE, "an answer of nginx")
    seen = set()

    def a_new_worker_attached() -> bool:
        assert get(path).endswith(b"hello")
        return bool({event["pid"] for event in stage.governor.of("attached")} - seen)

    for signal_number in (signal.SIGHUP, None):
        wait_until(a_new_worker_attached, DEADLINE, "a worker in a session", every=0.05)
        seen |= {event["pid"] for event in stage.governor.of("attached")}
        if signal_number:
            service.process.send_signal(signal_number)
            for pid in seen:
                detached(stage, pid)
    assert {event["name"] for event in stage.governor.of("attached")} == {"nginx"}, "not a title that it gave itself"
    assert service.stop() == 0, service.last_words()


def test_the_governor_may_come_and_go_under_load(stage):
    redis = Redis(stage)
    load = stage.start("load", program("redis-benchmark", "redis-tools"), "-s", str(redis.socket), "-l", "-q", "-t", "set,get",
                       "-n", "10000")
    for _ in range(20):
        governor = stage.govern(RELEASE)
        attached(stage, redis.service.pid)
        os.kill(governor.pid, signal.SIGKILL)
        governor.service.process.wait(DEADLINE)
    assert redis.ask("PING") == "PONG" and load.alive
    assert threads_of(redis.service.pid).count("memgov") == 1


def test_a_shell_that_only_waits_for_what_it_runs_gets_no_agent(stage):
    stage.govern(RELEASE)
    service = start(stage, "sh", program("sh"), "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done")
    assert service.process.wait(DEADLINE) == 0
    assert stage.governor.of("attached") == []


def run_with(preload: str, *argv: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(argv, env=os.environ | {"LD_PRELOAD": preload, "MEMGOV_LOG": "1"} | env, capture_output=True,
                          text=True, timeout=DEADLINE)


WAITS = "import time\nfor _ in range(3): time.sleep(0.1)"


def test_it_says_so_without_a_governor_and_nothing_when_it_is_off(tmp_path):
    nowhere = str(tmp_path / "no.sock")
    python = program("python3")
    on = run_with(str(PRELOAD), python, "-c", WAITS, MEMGOV_SOCKET=nowhere)
    assert (on.returncode, on.stdout) == (0, "")
    assert on.stderr.splitlines() == [f"memgov: not connected: no governor at {nowhere} (errno 2)"]
    off = run_with(str(PRELOAD), python, "-c", WAITS, MEMGOV_SOCKET=nowhere, MEMGOV_DISABLE="1")
    assert (off.returncode, off.stdout, off.stderr) == (0, "", "")


def test_a_static_program_runs_as_without_it():
    busybox = program("busybox", "busybox-static")
    if "not a dynamic executable" not in subprocess.run(["ldd", busybox], capture_output=True, text=True).stderr:
        pytest.skip("this busybox is not static (apt-get install busybox-static)")
    run = run_with(str(PRELOAD), busybox, "sh", "-c", "busybox sleep 0.3; echo fine")
    assert (run.returncode, run.stdout, run.stderr) == (0, "fine\n", "")


SLEEPER = """\
#include <stdio.h>
#include <unistd.h>
int main(void) {
  for (int i = 0; i < 3; ++i) usleep(100000);
  return puts("fine") < 0;
}
"""


def test_a_musl_program_runs_as_without_it(tmp_path):
    compiler = program("musl-gcc", "musl-tools")
    (tmp_path / "sleeper.c").write_text(SLEEPER)
    subprocess.run([compiler, "-o", tmp_path / "sleeper", tmp_path / "sleeper.c"], check=True)
    run = run_with(str(PRELOAD), str(tmp_path / "sleeper"))
    assert (run.returncode, run.stdout, run.stderr) == (0, "fine\n", "")


def test_a_program_with_more_rights_than_its_user_gets_none(tmp_path):
    """ld.so ignores LD_PRELOAD there; who gets it in otherwise is refused too."""
    compiler = program("cc", "gcc")
    (tmp_path / "sleeper.c").write_text(SLEEPER)
    with tempfile.TemporaryDirectory(prefix="memgov-setuid-") as name:
        public = pathlib.Path(name)
        public.chmod(0o755)
        library = shutil.copy(PRELOAD, public)
        subprocess.run([compiler, "-o", public / "linked", tmp_path / "sleeper.c", "-Wl,--no-as-needed", library,
                        f"-Wl,-rpath,{public}"], check=True)
        subprocess.run([compiler, "-o", public / "plain", tmp_path / "sleeper.c"], check=True)
        for program_name in ("linked", "plain"):
            said = {}
            for mode in (0o755, 0o4755):
                (public / program_name).chmod(mode)
                run = run_with(str(library), program("setpriv", "util-linux"), "--reuid=65534", "--clear-groups",
                               str(public / program_name), MEMGOV_SOCKET=str(public / "no.sock"))
                assert (run.returncode, run.stdout) == (0, "fine\n"), run.stderr
                said[mode] = run.stderr
            assert "no governor" in said[0o755]
            assert said[0o4755] == "", program_name
