"""The kernel's words about a kill, as 6.x prints them."""

from harness import kernel_log

RECORD = ("6,1211,5512345678,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
          "oom_memcg=/memgov-demo-7,task_memcg=/memgov-demo-7/redis,task=redis-server,pid=4711,uid=0\n")


def test_names_victim_and_domain():
    kill = kernel_log.parse(RECORD, 1.5)
    assert (kill.pid, kill.task, kill.cgroup, kill.domain, kill.at) == (
        4711, "redis-server", "/memgov-demo-7/redis", "/memgov-demo-7", 1.5)


def test_other_records_are_no_kills():
    assert kernel_log.parse("6,1,2,-;Memory cgroup out of memory: Killed process 4711 (redis-server)", 0) is None


def test_a_task_may_be_called_anything():
    assert kernel_log.parse(RECORD.replace("task=redis-server", "task=a,pid=1,b"), 0).pid == 4711


def test_kills_below_does_not_mix_up_names_that_begin_alike(tmp_path):
    log = kernel_log.KernelLog(str(tmp_path / "absent"))
    assert not log.available
    log._kills = [kernel_log.parse(RECORD, 0)]
    assert len(log.kills_below("/memgov-demo-7")) == 1
    assert len(log.kills_below("/memgov-demo-7/redis")) == 1
    assert log.kills_below("/memgov-demo") == []
