"""Builds and caches the disk images that the VM boots: a kernel, an initramfs and a root file system per flavour.

The cache is a convenience, never a dependency: an image is named by a hash of its recipe, so a changed recipe builds
anew; it is built in a scratch directory and renamed when complete, so a half-made one is never used; files that do
not match what was recorded at the end are built again. A lock keeps two builds apart.
"""

import collections
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from . import apt_sources, initramfs

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = ("image.py", "initramfs.py", "guest/init.sh", "guest/fetch_kernel.sh")
TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "cpio": "cpio", "dpkg-deb": "dpkg", "apt-get": "apt"}
VIRTIO = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4")
PRUNE_AFTER_S = 7 * 24 * 3600


class ImageError(Exception):
    """The image could not be built; the message says which step and why."""


@dataclasses.dataclass(frozen=True)
class Flavour:
    """What goes into one image. `kernel` is a Debian meta package, `modules` are loaded before the root is mounted."""
    suite: str
    kernel: str
    packages: tuple[str, ...]
    modules: tuple[str, ...] = VIRTIO
    disk_mib: int = 3072


# The services of the tests and the daemon with their run-time libraries; no init system: the agent is process 1.
BASE_PACKAGES = ("busybox-static", "libabsl20220623", "libcgroup2", "libfmt9", "libgrpc++1.51", "libhiredis0.14",
                 "libjemalloc2", "libmimalloc2.0", "libnghttp2-14", "libprotobuf32", "libspdlog1.10",
                 "libtcmalloc-minimal4", "libyaml-cpp0.7", "mount",
                 "procps", "python3", "python3-pytest", "redis-server", "redis-tools")

FLAVOURS = {
    "base": Flavour(suite="bookworm", kernel="linux-image-cloud-amd64", packages=BASE_PACKAGES),
    # With what runs real containers; their root directories are made by the tests, no image is pulled.
    "containers": Flavour(suite="bookworm", kernel="linux-image-cloud-amd64",
                          packages=(*BASE_PACKAGES, "podman", "runc")),
}
# A service manager and a container runtime that rewrite cgroup files of their own accord. The agent stays process 1; a
# test starts systemd as process 1 of a namespace (guest/manager.py).
FLAVOURS["systemd"] = dataclasses.replace(
    FLAVOURS["base"], packages=(*FLAVOURS["base"].packages, "runc", "systemd"))


@dataclasses.dataclass(frozen=True)
class Image:
    """A complete image on this machine. The root disk must be opened read-only or with a snapshot."""
    kernel: pathlib.Path
    initrd: pathlib.Path
    root: pathlib.Path


def cache_dir() -> pathlib.Path:
    base = os.environ.get("MEMGOV_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "memgov")
    return pathlib.Path(base) / "vm"


def recipe_key(flavour: Flavour) -> str:
    """A name for what the image would contain: the flavour's table row and the code that builds it."""
    digest = hashlib.sha256(repr(flavour).encode())
    for name in RECIPE:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def ensure(name: str = "base", rebuild: bool = False) -> Image:
    """The image of that flavour, built now if the cache does not hold it. Waits for a build under way elsewhere."""
    flavour = FLAVOURS.get(name)
    if flavour is None:
        raise ImageError(f"no image flavour '{name}'; there are: {', '.join(FLAVOURS)}")
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{name}-{recipe_key(flavour)}"
    with _lock(cache / "lock"):
        if rebuild or not is_complete(target):
            _clear_leftovers(cache)
            _build(flavour, name, target)
            _prune(cache, target)
        os.utime(target)
    return Image(target / "kernel", target / "initrd", target / "root.ext4")


def is_complete(target: pathlib.Path) -> bool:
    """Whether the directory holds every file that its manifest (written last) records, at the recorded size."""
    try:
        manifest = json.loads((target / "manifest.json").read_text())
        sizes = manifest["sizes"]
        return bool(sizes) and all((target / file).stat().st_size == size for file, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another build (lock {path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(flavour: Flavour, name: str, target: pathlib.Path) -> None:
    _check_tools()
    started = time.monotonic()
    work = pathlib.Path(tempfile.mkdtemp(prefix=".build-", dir=target.parent))
    try:
        tree, kernel_tree, done = work / "tree", work / "kernel", work / "done"
        done.mkdir()
        _say(f"building the '{name}' image (about half a minute; kept in {target.parent})")
        _bootstrap(flavour, tree, kernel_tree)
        _say("making the initramfs and the root disk")
        try:
            initramfs.build(tree / "usr/bin/busybox", next((kernel_tree / "lib/modules").iterdir()), flavour.modules,
                            HERE / "guest/init.sh", work / "initramfs", done / "initrd")
            shutil.copyfile(next((kernel_tree / "boot").glob("vmlinuz-*")), done / "kernel")
        except (LookupError, StopIteration, OSError) as error:
            raise ImageError(f"the kernel package does not fit: {error or 'no kernel in it'}") from error
        make_ext4(tree, done / "root.ext4", flavour.disk_mib)
        _finish(done, target, time.monotonic() - started)
    finally:
        _remove(work)


def _bootstrap(flavour: Flavour, tree: pathlib.Path, kernel_tree: pathlib.Path) -> None:
    try:
        sources = apt_sources.debian_sources(flavour.suite)
    except (apt_sources.NoDebianSource, subprocess.CalledProcessError) as error:
        raise ImageError(str(error)) from error
    hook = shlex.join([f"{HERE}/guest/fetch_kernel.sh", flavour.kernel, str(kernel_tree)]) + ' "$1"'
    _run("installing the packages", [
        "mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(flavour.packages)}",
        '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--customize-hook={hook}", flavour.suite, str(tree), "-"], text="\n".join(sources))


def make_ext4(tree: pathlib.Path, image: pathlib.Path, size_mib: int) -> None:
    """A sparse ext4 image of that size with the tree's files. No journal: a disk that is thrown away needs none."""
    _run(f"making {image.name}", ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-E",
                                  "root_owner=0:0", "-d", str(tree), str(image), f"{size_mib}M"])


def _finish(done: pathlib.Path, target: pathlib.Path, seconds: float) -> None:
    """Writes the manifest, makes everything durable, and puts the directory in place in one step."""
    sizes = {path.name: path.stat().st_size for path in sorted(done.iterdir())}
    used_mib = sum(path.stat().st_blocks for path in done.iterdir()) * 512 / 2**20
    (done / "manifest.json").write_text(json.dumps({"sizes": sizes, "build_seconds": round(seconds, 1)}, indent=2))
    for path in done.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    done.chmod(0o755)
    shutil.rmtree(target, ignore_errors=True)
    done.rename(target)
    _say(f"built in {seconds:.1f} s, {used_mib:.0f} MiB: {target}")


def _clear_leftovers(cache: pathlib.Path) -> None:
    """Scratch directories of builds that were killed; the lock says that no build is under way."""
    for leftover in cache.glob(".build-*"):
        _remove(leftover)


def _remove(scratch: pathlib.Path) -> None:
    """Removes a scratch directory, but never what an interrupted bootstrap may have left mounted in it."""
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(scratch)], stderr=subprocess.DEVNULL, check=False)


def _prune(cache: pathlib.Path, keep: pathlib.Path) -> None:
    """Removes images that no run has used for a week: those of older recipes."""
    for path in cache.iterdir():
        if path.is_dir() and path != keep and time.time() - path.stat().st_mtime > PRUNE_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def _check_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool, path=tool_path())})
    if missing:
        raise ImageError(f"building the image needs: apt-get install {' '.join(missing)}")
    if platform.machine() != "x86_64":
        raise ImageError(f"the image is for x86_64; this machine is {platform.machine()}")
    if os.geteuid() != 0:
        raise ImageError("building the image needs root (packages are installed into a tree)")


def tool_path() -> str:
    """PATH with the administrator's directories, which a user's PATH may lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _run(what: str, command: list[str], text: str = "") -> None:
    """Runs a step; of its output only progress ("I: ...") is shown. On failure raises ImageError with the end of it."""
    tail: collections.deque[str] = collections.deque(maxlen=30)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", env={**os.environ, "PATH": tool_path()})
    try:
        process.stdin.write(text)
        process.stdin.close()
        for line in process.stdout:
            tail.append(line)
            if line.startswith("I: "):
                _say("  " + line[3:].rstrip())
        status = process.wait()
    except BaseException:
        process.terminate()  # a bootstrap unmounts what it mounted
        process.wait()
        raise
    if status != 0:
        raise ImageError(f"{what} failed (`{command[0]}` exited with {status}):\n{''.join(tail)}")


def _say(text: str) -> None:
    print(f"vm: {text}", file=sys.stderr, flush=True)
