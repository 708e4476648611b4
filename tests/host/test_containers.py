"""Real containers: known, asked and giving back under their own limit; with memgovd on the host or in one itself."""

import pathlib
import shutil

import pytest

from .conftest import DEADLINE, MIB, scaled
from .policies import ENFORCE

from harness.containers import Containers
from harness.governor import Governor, socket_in
from harness.processes import Service, wait_until

# Settings off: an eager client would give back before it is asked.
ASKING = ENFORCE + "    actions: [release, collect]\n"
# The same where the mount begins at the parent, so that its path is "/".
ASKING_ALL = ASKING.replace("/memgov-host-*/**", "/**")

LIMIT = scaled(400)
GROWN = scaled(360)  # above the 85 % where the governor wakes
UID = "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab"


@pytest.fixture
def containers(root, stage):
    with Containers(stage.parent, stage.directory, root) as made:
        yield made
        # Before the containers are cleaned up, so that they end as they are asked to.
        for service in reversed(stage.services):
            service.stop()
        if stage.governor:
            stage.governor.stop()


def retaining(stage, containers, runtime: str = "runc", **keywords):
    """A client in a container that grew to GROWN, freed nine tenths and keeps the pages. (container, service)
    It comes before its governor: asked while it grows or frees, it would give back less."""
    make = {"runc": containers.runc, "podman": containers.podman}[runtime]
    container = make(["/bin/retain_glibc", "--grow", f"{GROWN // MIB}MiB", "--memgov"], memory=LIMIT,
                     env={"MEMGOV_SOCKET": str(socket_in(stage.directory))},
                     binds={str(stage.directory): str(stage.directory)}, **keywords)
    service = Service(f"retain-{runtime}", container.argv, directory=stage.directory)
    stage.services.append(service)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return container, service


def attached_of(governor: Governor, service: Service) -> dict:
    wait_until(lambda: governor.of("attached", "refused") or not service.alive, DEADLINE, "a client")
    assert service.alive, service.last_words()
    return governor.wait_for("attached", 1)


def govern_inside(stage, containers, policy: str, binds: dict[str, str], *arguments: str, roots: list[str]) -> Governor:
    """memgovd in a container: a private cgroup namespace, the host's pids, no capability."""
    file = stage.directory / "policy.yaml"
    file.write_text(policy)

    def wrap(argv: list[str]) -> list[str]:
        return containers.runc(argv, place="governor", host_pids=True,
                               binds={str(stage.directory): str(stage.directory)} | binds).argv

    stage.governor = Governor(pathlib.Path("/bin/memgovd"), file, stage.directory, roots,
                              arguments=["--cgroup-mount", "/host/cgroup", *arguments], wrap=wrap)
    return stage.governor


def expect_it_gives_back(stage, governor, attached: dict, service: Service) -> None:
    returned = governor.wait_for("returned", DEADLINE)
    assert returned["bytes"] >= GROWN // 2
    assert returned["domain"] == attached["cgroup"], "its own limit, not the parent's"
    assert returned["limit"] == LIMIT
    assert stage.parent.oom_kills() == 0
    assert service.stop(60) == 0, service.last_words()
    assert service.lines[-1]["final"] and service.lines[-1]["errors"] == 0


def test_a_container_of_runc_is_known_and_gives_back_under_its_limit(stage, containers):
    container, service = retaining(stage, containers)
    governor = stage.govern(ASKING)
    attached = attached_of(governor, service)
    assert attached["cgroup"] == container.cgroup
    assert attached["container_id"] == container.id
    assert attached["container"] == f"container/{container.id[:12]}"  # the path does not tell the runtime
    procs = stage.parent.hierarchy.mount / container.cgroup.lstrip("/") / "cgroup.procs"
    assert str(attached["pid"]) in procs.read_text().split()
    expect_it_gives_back(stage, governor, attached, service)


def test_a_container_of_podman_is_known_and_gives_back_under_its_limit(stage, containers):
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed (apt-get install podman)")
    _, service = retaining(stage, containers, "podman")
    governor = stage.govern(ASKING)
    attached = attached_of(governor, service)
    assert attached["runtime"] == "podman"
    assert attached["cgroup"].split("/")[:3] == ["", stage.parent.name[1:], f"libpod-{attached['container_id']}"]
    assert attached["container"] == f"podman/{attached['container_id'][:12]}"
    expect_it_gives_back(stage, governor, attached, service)


def test_a_governor_in_a_private_cgroup_namespace_sees_where_its_peers_are(stage, containers):
    container, service = retaining(stage, containers)
    governor = govern_inside(stage, containers, ASKING, {"/host/cgroup": "/sys/fs/cgroup"}, roots=[stage.parent.name])
    attached = attached_of(governor, service)
    assert attached["cgroup"] == container.cgroup
    assert attached["container_id"] == container.id
    expect_it_gives_back(stage, governor, attached, service)
    assert governor.stop() == 0, governor.service.last_words()


def test_a_governor_in_a_node_of_kind_knows_the_names_of_its_pods(stage, containers):
    """What a node in a container sees: a tree that begins at its own cgroup, pods in it, the runtime's bundles."""
    container, service = retaining(stage, containers, place=f"kubepods/burstable/pod{UID}", annotations={
        "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "retain",
        "io.kubernetes.cri.sandbox-name": "web-7d4b9", "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-uid": UID})
    governor = govern_inside(
        stage, containers, ASKING_ALL,
        {"/host/cgroup": str(stage.parent.path),
         "/run/containerd/io.containerd.runtime.v2.task/k8s.io": str(containers.bundles)}, roots=["/"])
    attached = attached_of(governor, service)
    assert attached["cgroup"] == f"/kubepods/burstable/pod{UID}/{container.id}"
    assert (attached["qos"], attached["pod_uid"], attached["container_id"]) == ("burstable", UID, container.id)
    assert (attached["namespace"], attached["pod"], attached["container_name"]) == ("shop", "web-7d4b9", "retain")
    assert attached["container"] == "shop/web-7d4b9/retain"
    expect_it_gives_back(stage, governor, attached, service)


def test_a_governor_that_cannot_tell_where_it_is_refuses_and_says_what_to_do(stage, containers):
    tenants = stage.parent.child("tenants")
    _, service = retaining(stage, containers, place="tenants")
    governor = govern_inside(stage, containers, ASKING_ALL, {"/host/cgroup": str(tenants.path)}, roots=["/"])
    assert any("every client will be refused" in event["text"] for event in governor.of("degraded"))
    refused = governor.wait_for("refused", DEADLINE)
    assert "mount the whole of the host's /sys/fs/cgroup" in refused["text"]
    assert "--cgroup-namespace-root" in refused["text"]
    assert service.alive, "no governor is no harm"


def test_the_namespace_root_that_a_person_gives_counts(stage, containers):
    container, _ = retaining(stage, containers)
    governor = govern_inside(stage, containers, ASKING, {"/host/cgroup": "/sys/fs/cgroup"},
                             "--cgroup-namespace-root", "/made/up/by-hand", roots=[stage.parent.name])
    refused = governor.wait_for("refused", DEADLINE)
    # The governor is two levels below the parent of both, and so is the made up place below /made.
    assert refused["cgroup"] == f"/made/{container.id}"


def test_nothing_is_left_behind(root, stage):
    with Containers(stage.parent, stage.directory, root) as containers:
        _, service = retaining(stage, containers)
    wait_until(lambda: not service.alive, DEADLINE, "the end of a container that was cleaned up")
    stage.parent.remove()
    mount = pathlib.Path("/sys/fs/cgroup")
    assert not [*mount.glob(stage.parent.name[1:]), *mount.glob("*" + stage.parent.name)]
