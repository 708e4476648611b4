"""The policy of a running memgovd, as operators change it: edited, renamed over, swapped as a ConfigMap, broken,
removed; and rules that match by the names of pods."""

import json
import os
import pathlib
import signal

import pytest

from harness.containers import Containers
from harness.governor import Governor
from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE, scaled
from .policies import ENFORCE, OBSERVE
from .test_daemon import run

LARGEST = 1 << 20
UID = "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab"


def rules(*names: str) -> str:
    body = "".join(f"  - {{name: {name}, match: {{cgroup: /{name}}}}}\n" for name in names)
    return "apiVersion: memgov/v1\nkind: Policy\nrules:\n" + body


def govern(stage, path: pathlib.Path) -> Governor:
    stage.governor = Governor(BUILD / "governor/memgovd", path, stage.directory, [stage.parent.name])
    return stage.governor


def policy_status(stage) -> dict:
    return json.loads((stage.directory / "state/status.json").read_text())["policy"]


def loaded(governor: Governor, count: int) -> int:
    """The number of rules of the `count`-th policy that was loaded after the start."""
    return governor.wait_for("policy_loaded", DEADLINE, count)["rules"]


def test_an_edit_in_place_takes_effect(stage):
    file = stage.directory / "policy.yaml"
    file.write_text(rules("a"))
    governor = govern(stage, file)
    with file.open("w") as writer:  # an editor that takes its time
        writer.write(rules("a", "b"))
        writer.flush()
        os.fsync(writer.fileno())
        assert governor.of("policy_loaded", "policy_refused") == []
        writer.write("  - {name: c, match: {cgroup: /c}}\n")
    assert loaded(governor, 1) == 3
    assert len(governor.of("policy_loaded")) == 1, "once, and not for half of it"


def test_a_file_that_is_renamed_over_takes_effect(stage):
    file = stage.directory / "policy.yaml"
    file.write_text(rules("a"))
    governor = govern(stage, file)
    for count in (1, 2, 3):
        new = stage.directory / "policy.yaml.new"
        new.write_text(rules(*"abcd"[:count + 1]))
        new.rename(file)
        assert loaded(governor, count) == count + 1


@pytest.mark.parametrize("path", ["", "policy.yaml"])
def test_a_config_map_is_swapped_as_a_whole(stage, path):
    mount = stage.directory / "config"

    def swap(version: str, text: str) -> None:
        (mount / f"..{version}").mkdir(parents=True)
        (mount / f"..{version}/policy.yaml").write_text(text)
        (mount / "..data_tmp").symlink_to(f"..{version}")
        (mount / "..data_tmp").rename(mount / "..data")

    swap("1", rules("a"))
    (mount / "policy.yaml").symlink_to("..data/policy.yaml")
    governor = govern(stage, mount / path)
    swap("2", rules("a", "b"))
    assert loaded(governor, 1) == 2
    (mount / "..1/policy.yaml").unlink()
    (mount / "..1").rmdir()
    swap("3", rules("a", "b", "c"))
    assert loaded(governor, 2) == 3
    assert governor.of("policy_refused") == []


def test_a_broken_file_leaves_the_last_good_one_and_says_so_until_it_is_good_again(stage):
    governor = stage.govern(ENFORCE)
    file = stage.directory / "policy.yaml"
    assert policy_status(stage) == {"source": str(file), "state": "ok"}
    file.write_text(ENFORCE.replace("mode: enforce", "mode: enforced") + "    wake: {usage: 850%}\n    brk: {}\n")
    refused = governor.wait_for("policy_refused", DEADLINE)["text"]
    for place in ("policy.yaml:6:11:", "policy.yaml:7:19:", "policy.yaml:8:5:"):
        assert place in refused
    assert 'did you mean "enforce"?' in refused
    wait_until(lambda: policy_status(stage)["state"] == "degraded", DEADLINE, "a degraded policy")
    assert "policy.yaml:6:11:" in policy_status(stage)["what"]
    since = policy_status(stage)["since"]
    file.write_text("rules: [")
    assert "not YAML" in governor.wait_for("policy_refused", DEADLINE, 2)["text"]
    assert policy_status(stage)["since"] == since, "it has been bad since then"

    # It governs as before: what is asked of a new client comes from the enforcing rule.
    stage.start_retaining("jemalloc", 64 << 20)
    assert "enforces" in governor.wait_for("attached", DEADLINE)["text"]

    file.write_text(OBSERVE)
    loaded(governor, 1)
    wait_until(lambda: policy_status(stage) == {"source": str(file), "state": "ok"}, DEADLINE, "a good policy")
    assert len(governor.of("policy_refused")) == 2, "once for each content"


def test_a_file_that_is_removed_leaves_the_last_good_one(stage):
    governor = stage.govern(ENFORCE)
    file = stage.directory / "policy.yaml"
    file.unlink()
    assert "No such file" in governor.wait_for("policy_refused", DEADLINE)["text"]
    wait_until(lambda: policy_status(stage)["state"] == "degraded", DEADLINE, "a degraded policy")
    assert governor.service.alive
    file.write_text(rules("a", "b"))
    assert loaded(governor, 1) == 2


def test_a_huge_or_deep_file_is_refused(stage):
    governor = stage.govern(ENFORCE)
    file = stage.directory / "policy.yaml"
    file.write_text("#" * (LARGEST + 1))
    assert f"larger than {LARGEST} bytes" in governor.wait_for("policy_refused", DEADLINE)["text"]
    file.write_text("a: " + "[" * 10_000)
    assert "nested deeper than 32 levels" in governor.wait_for("policy_refused", DEADLINE, 2)["text"]
    assert governor.service.alive


def test_a_directory_is_one_policy(stage):
    directory = stage.directory / "policy.d"
    directory.mkdir()
    (directory / "10.yaml").write_text(rules("a"))
    (directory / "20.yaml").write_text(rules("b", "c"))
    assert "ok, 3 rules in 2 files" in run("--check", str(directory)).stdout
    governor = govern(stage, directory)
    (directory / "30.yaml").write_text(rules("d", "a"))
    refused = governor.wait_for("policy_refused", DEADLINE)["text"]
    assert "30.yaml:5:12" in refused and "10.yaml:4:12" in refused, "both places of a name that is there twice"
    bad = run("--check", str(directory))
    assert bad.returncode == 2 and "30.yaml:5:12" in bad.stderr
    (directory / "30.yaml").write_text(rules("d"))
    assert loaded(governor, 1) == 4
    (directory / "20.yaml").unlink()
    assert loaded(governor, 2) == 2


def test_sighup_reads_it_again_whether_it_has_changed_or_not(stage):
    governor = stage.govern(ENFORCE)
    governor.service.process.send_signal(signal.SIGHUP)
    assert loaded(governor, 1) == 1


def test_a_client_that_was_observed_gives_once_the_policy_enforces(stage):
    governor = stage.govern(OBSERVE)
    service = stage.start_retaining("jemalloc", scaled(460))  # over the wire of 435
    assert "observes" in governor.wait_for("attached", DEADLINE)["text"]
    # Before the governor knows what it holds, the setting would be sent first, and give all of that back.
    wait_until(lambda: any(event["action"].startswith("release") for event in governor.of("would_ask")), DEADLINE,
               "what it would be asked for")
    (stage.directory / "policy.yaml").write_text(ENFORCE)
    assert governor.wait_for("mode", DEADLINE)["name"] == "retain_jemalloc"
    returned = governor.wait_for("returned", DEADLINE)
    assert returned["bytes"] > scaled(100)
    assert governor.of("declined") == []
    assert service.alive


def test_doctor_says_that_the_policy_was_refused(stage):
    governor = stage.govern(ENFORCE)
    (stage.directory / "policy.yaml").write_text("rules: [")
    governor.wait_for("policy_refused", DEADLINE)
    wait_until(lambda: policy_status(stage)["state"] == "degraded", DEADLINE, "a degraded policy")
    shown = run("doctor", "--json", "--socket", str(governor.socket), "--state-dir", str(stage.directory / "state"))
    found = [check for check in json.loads(shown.stdout) if check["check"] == "policy"]
    assert len(found) == 1 and "not YAML" in found[0]["found"]


BY_NAME = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: shop
    match: {namespace: shop, pod: "web-*", container: retain, qos: burstable}
    mode: enforce
  - name: rest
"""


@pytest.mark.parametrize("namespace, asked", [("shop", "asked"), ("bank", "would_ask")])
def test_a_rule_governs_the_pods_of_its_namespace(root, stage, namespace, asked):
    """A real container of a pod, seen as a node in a container sees it: the tree begins at its own cgroup, and the
    runtime's bundles are where containerd has them. The rule goes by names that are in them, not by the path."""
    with Containers(stage.parent, stage.directory, root) as containers:
        share = {str(stage.directory): str(stage.directory)}
        limit, grown = scaled(400), scaled(360)
        container = containers.runc(
            ["/bin/retain_glibc", "--grow", f"{grown >> 20}MiB", "--memgov"], memory=limit,
            env={"MEMGOV_SOCKET": str(stage.directory / "memgovd.sock")}, binds=share,
            place=f"kubepods/burstable/pod{UID}", annotations={
                "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "retain",
                "io.kubernetes.cri.sandbox-name": "web-7d4b9", "io.kubernetes.cri.sandbox-namespace": namespace,
                "io.kubernetes.cri.sandbox-uid": UID})
        service = Service("retain", container.argv, directory=stage.directory)
        stage.services.append(service)
        service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
        file = stage.directory / "policy.yaml"
        file.write_text(BY_NAME)
        binds = share | {"/host/cgroup": str(stage.parent.path),
                         "/run/containerd/io.containerd.runtime.v2.task/k8s.io": str(containers.bundles)}
        stage.governor = Governor(
            pathlib.Path("/bin/memgovd"), file, stage.directory, ["/"], arguments=["--cgroup-mount", "/host/cgroup"],
            wrap=lambda argv: containers.runc(argv, place="governor", host_pids=True, binds=binds).argv)
        attached = stage.governor.wait_for("attached", DEADLINE)
        assert attached["namespace"] == namespace
        assert ("rule shop enforces" if asked == "asked" else "rule rest observes") in attached["text"]
        woke = stage.governor.wait_for(asked, DEADLINE)
        assert woke["domain"] == f"/kubepods/burstable/pod{UID}/{container.id}"
        if asked == "would_ask":
            assert stage.governor.of("asked") == []
        for one in reversed(stage.services):
            one.stop()
        stage.governor.stop()
