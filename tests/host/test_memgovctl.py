"""memgovctl as an operator types it: what it prints, and what it says of bad input."""

import json

from .conftest import ctl

POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - {name: as-shipped, match: {cgroup: "/a/**"}}
  - name: asleep
    wake: {usage: 99%, timeToLimit: never, stall: never}
    critical: {usage: never, timeToLimit: never, stall: never}
    relax: {usage: 98%}
    brake: {enabled: false}
"""


def test_simulate_puts_each_rule_beside_the_defaults(tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    done = ctl("simulate", "--policy", policy, "--worlds", "1:30", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["worlds"], result["invariants_broken"]) == (30, 0)
    arms = {arm.pop("name"): arm for arm in result["arms"]}
    assert list(arms) == ["nothing", "defaults", "rule as-shipped", "rule asleep", "oracle"]
    assert arms["rule as-shipped"] == arms["defaults"], "a rule with nothing but a name has the defaults"
    assert arms["defaults"]["kills"] < arms["rule asleep"]["kills"] <= arms["nothing"]["kills"]
    assert arms["nothing"]["requests"] == 0 and arms["nothing"]["missed_percent"] == 100

    assert ctl("simulate", "--policy", policy, "--worlds", "1:30", "--json").stdout == done.stdout
    table = ctl("simulate", "--worlds", "1:3").stdout
    assert "kills" in table.splitlines()[0] and "3 worlds" in table and "\033" not in table


def test_simulate_refuses_what_it_cannot_mean(tmp_path):
    for worlds in (":", "5", "9:1", "a:b", "1:1000000000"):
        done = ctl("simulate", f"--worlds={worlds}")
        assert done.returncode == 2 and "FIRST:LAST" in done.stderr, worlds
    assert ctl("simulate", "--policy", tmp_path / "none.yaml").returncode == 2
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    done = ctl("simulate", "--policy", empty)
    assert done.returncode == 2 and "has no rules" in done.stderr


def test_policy_check_says_all_that_is_wrong_with_line_and_column(tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert ctl("policy", "check", policy).returncode == 0
    policy.write_text(POLICY.replace("usage: 99%", "usgae: 99%").replace("98%", "980%"))
    done = ctl("policy", "check", policy)
    assert done.returncode == 1 and done.stdout == ""
    assert ":6:" in done.stderr and "usgae" in done.stderr and ":8:" in done.stderr, done.stderr


def test_the_help_of_a_command_shows_examples_of_that_command():
    for command in (["policy"], ["policy", "check"], ["replay"], ["journal"], ["simulate"]):
        text = ctl(*command, "--help").stdout
        examples = [line.split() for line in text.splitlines() if line.startswith("  memgovctl ")]
        assert examples, command
        assert all(example[1 : 1 + len(command)] == command for example in examples), (command, examples)
