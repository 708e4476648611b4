"""The table, the JSON and the picture, from results that were made up here."""

import dataclasses
import io
import xml.dom.minidom

import pytest

from demo import cli, in_vm, picture, report
from demo.result import Kill, Result, flows_again, longest_standstill, measure
from demo.scene import SERVICES, TENANTS, DemoError, Programs, Scene
from harness.figures import MIB
from harness.sampler import Timeline

KEYS = ["runs", "runs_killed_without", "runs_killed_with", "kills_without", "kills_with", "work_completed_with_percent",
        "redis_p99_ms_without", "redis_p99_ms_with", "given_back_mib", "given_back_over_missing", "reaction_p99_ms",
        "runs_killed_with_busy"]


def killed() -> Result:
    times = [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    usage = {name: [0.0, 300.0, 300.0, 300.0, 300.0, 300.0] for name in SERVICES}
    usage["redis"] = [0.0, 0.0, 100.0, 200.0, 328.0, 0.0]
    usage["total"] = [sum(usage[name][i] for name in TENANTS) for i in range(len(times))]
    return Result(False, Scene(), times, usage, kills=[Kill(3.0, "redis", "redis-server", 7, True)],
                  completed={name: name != "redis" for name in TENANTS}, ended_at=4.0, crossed_at=1.4,
                  fill={"written_mib": 259.0, "p99_us": 2000, "max_us": 9000})


def saved() -> Result:
    result = dataclasses.replace(killed(), memgov=True, kills=[], completed=dict.fromkeys(TENANTS, True),
                                 fill={"written_mib": 650.0, "p99_us": 1000, "max_us": 4000}, asked_at=1.404, back_at=1.44,
                                 returned_at=1.48, first_round_mib=730.0, missing_mib=365.0, given_back_mib={"jemalloc": 260.0, "glibc": 230.0, "go": 240.0},
                                 events=[{"event": "asked", "s": 1.404, "client": 1, "action": "release"}, {"event": "asked", "s": 1.405, "client": 2, "action": "collect"}])
    result.usage_mib["total"] = [value * 0.8 for value in result.usage_mib["total"]]
    return result


def test_summary_has_exactly_the_keys_and_counts_runs_and_kills():
    summary = report.summary([(killed(), saved()), (killed(), saved())])
    assert list(summary) == KEYS
    assert (summary["runs"], summary["runs_killed_without"], summary["runs_killed_with"]) == (2, 2, 0)
    assert summary["work_completed_with_percent"] == 100
    assert summary["given_back_mib"] == 730
    assert summary["given_back_over_missing"] == 2
    assert summary["reaction_p99_ms"] == pytest.approx(4.0)
    assert summary["runs_killed_with_busy"] is None


def test_runs_on_busy_processors_are_counted_apart():
    busy = [saved(), dataclasses.replace(saved(), kills=killed().kills), saved()]
    summary = report.summary([(killed(), saved())], busy)
    assert (summary["runs_killed_with"], summary["runs_killed_with_busy"]) == (0, 1)
    assert not report.held([(killed(), saved())], busy) and report.held([(killed(), saved())], [saved()])
    assert "killed in 1 of 3 runs" in report.busy_words(busy)


def test_asking_before_the_crossing_is_a_reaction_of_zero():
    assert dataclasses.replace(saved(), asked_at=1.2).reaction_ms == 0
    assert dataclasses.replace(saved(), asked_at=None).reaction_ms is None


def test_the_promise_is_broken_by_one_kill_or_one_unfinished_tenant():
    assert report.held([(killed(), saved())])
    assert not report.held([(killed(), dataclasses.replace(saved(), kills=killed().kills))])
    assert not report.held([(killed(), dataclasses.replace(saved(), completed={"go": False}))])


def test_table_puts_runs_side_by_side():
    text = "\n".join(report.table([(killed(), saved())]))
    assert "1: redis-server" in text and "259 of 650" in text and "260 of 300" in text
    [ratio] = [line.split() for line in text.splitlines() if "what was missing" in line]
    assert ratio[-2:] == ["-", "2.0"]
    many = "\n".join(report.table([(killed(), saved())] * 3))
    assert "in 3 of 3 runs: redis-server" in many and "in 0 of 3 runs" in many


def test_fragmentation_is_named_only_where_it_shows():
    assert report.fragmentation_note((killed(), saved())) is None
    scattered = dataclasses.replace(saved(), scene=Scene(pattern="scattered"), given_back_mib={"glibc": 40.0, "jemalloc": 260.0, "go": 250.0})
    assert "C++ on glibc: 40 of 270 free MiB came back. What survived lies scattered" in report.fragmentation_note((killed(), scattered))


def test_no_colours_off_a_terminal():
    stream = io.StringIO()
    report.Printer(stream).say(1.5, "kill", "the kernel kills redis-server")
    assert stream.getvalue() == "    1.500 s  kernel  the kernel kills redis-server\n"


def test_standstill_is_the_longest_time_without_a_mebibyte():
    assert longest_standstill([(0, 0), (1, 50), (2, 50.2), (5, 50.4), (6, 90)]) == 5
    assert longest_standstill([(0, 0), (3, 0)]) == 3


def test_flowing_again_is_half_the_rate_for_a_moment():
    written = [(0, 0), (1, 80), (2, 81), (3, 82), (3.1, 83), (3.2, 90), (3.3, 98), (4.2, 170)]
    assert flows_again(written, after=1.5, rate=80) == 3
    assert flows_again(written, after=5, rate=80) is None


def test_a_late_governor_is_judged_by_what_redis_did():
    late = dataclasses.replace(saved(), started_at=6.0, flowing_at=7.5)
    assert "goes on 1.5 s after memgov was ready, and redis takes the rest" in report.late_words(late)
    assert "never stood still" in report.late_words(saved())
    assert "did not go on" in report.late_words(dataclasses.replace(late, flowing_at=None))


def test_the_machine_plays_the_same_demo_scaled():
    options = cli.arguments().parse_args(["--vm", "--json", "--repeat", "3", "--busy"])
    words = in_vm.command(options, "/memgov")
    assert words[:2] == ["python3", "/memgov/tests/demo/demo.py"]
    assert "--vm" not in words and "--json" in words and "--busy" in words
    inside = cli.arguments().parse_args(words[2:])
    assert (inside.repeat, inside.scale, inside.scene) == (3, in_vm.SCALE, "kill")


def test_picture_is_well_formed_and_says_what_happened():
    drawn = picture.svg([killed(), saved()])
    xml.dom.minidom.parseString(drawn)
    for words in ("redis-server is killed after 259 of 650 MiB", "nobody is killed", "memgov asks",
                  "730 MiB come back within 76 ms", "limit 1228 MiB"):
        assert words in drawn


def test_measuring_takes_times_and_bytes_from_the_cgroups():
    times = [10.0, 11.0, 11.4, 11.5, 11.6, 12.0]
    usage = {name: [300 * MIB] * 3 + [size * MIB] * 3 for name, size in (("jemalloc", 40), ("glibc", 50), ("go", 60))}
    usage["redis"] = [0, 144 * MIB, 160 * MIB, 160 * MIB, 160 * MIB, 200 * MIB]
    usage["total"] = [sum(usage[name][i] for name in TENANTS) for i in range(len(times))]
    result = Result(True, Scene(), events=[
        {"event": "asked", "action": "set_soft_limit", "t": 10.2, "s": 0.2},
        {"event": "asked", "action": "release", "t": 11.41, "s": 1.41}])
    measure(result, Timeline(times, usage, {}, []), zero=10.0, filled_at=12.0)
    assert result.given_back_mib == {"jemalloc": 260, "glibc": 250, "go": 240}
    assert 0.99 < result.crossed_at < 1.0 and result.asked_at == 1.41
    assert result.first_round_mib == 750
    # 900 MiB held before, 200 of redis; the limit is 1228.
    assert result.missing_mib == 0 and result.given_back_over_missing is None
    assert result.back_at == pytest.approx(1.5) and result.returned_at == pytest.approx(1.5)


def test_missing_is_what_all_would_hold_beyond_the_limit():
    times = [10.0, 11.4, 11.6, 12.0]
    usage = {name: [300 * MIB, 300 * MIB, 60 * MIB, 30 * MIB] for name in SERVICES}
    usage["redis"] = [0, 120 * MIB, 300 * MIB, 628 * MIB]
    usage["total"] = [sum(usage[name][i] for name in TENANTS) for i in range(len(times))]
    result = Result(True, Scene(), events=[{"event": "asked", "action": "release", "t": 11.41, "s": 1.41}])
    measure(result, Timeline(times, usage, {}, []), zero=10.0, filled_at=12.0)
    assert result.missing_mib == 300
    assert result.given_back_over_missing == pytest.approx(2.7)


def test_a_crossing_long_after_the_first_request_is_none_that_it_answered():
    times = [10.0, 11.0, 11.1, 17.0]
    usage = {name: [250 * MIB] * 4 for name in TENANTS} | {"total": [1000 * MIB, 1040 * MIB, 600 * MIB, 1100 * MIB]}
    result = Result(True, Scene(), events=[{"event": "asked", "action": "release", "t": 11.05, "s": 1.05}])
    measure(result, Timeline(times, usage, {}, []), zero=10.0, filled_at=17.0)
    assert result.asked_at == 1.05 and result.crossed_at is None and result.reaction_ms is None


def test_thinning_keeps_the_peak():
    result = killed()
    chosen = picture.thin_out(result, (-1.0, 4.0), points=2)
    assert max(result.usage_mib["total"][i] for i in chosen) == max(result.usage_mib["total"])


def test_scaling_keeps_the_proportions():
    scene = Scene().scaled(0.5)
    assert (scene.service, scene.fill, scene.rate) == (Scene().service // 2, Scene().fill // 2, Scene().rate // 2)
    assert Scene().scaled(1) == Scene()


def test_missing_programs_name_the_command_that_builds_them(tmp_path):
    with pytest.raises(DemoError, match=r"governor/memgovd.*\nrun \./dev build"):
        Programs.find(tmp_path)
