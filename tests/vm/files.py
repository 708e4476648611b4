"""The disk that carries this run's files into the guest, and the helper that picks the repository's.

Debian's cloud kernel has no 9p, and virtiofs needs a daemon; an ext4 image made from a staging directory needs
nothing and is not copied again in the guest: the agent binds each file or directory to its place. The staging
directory holds hard links where it can, so its cost is that of mke2fs reading the files.
"""

import os
import pathlib
import shutil
from collections.abc import Iterable

from . import image

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
GUEST_ROOT = "/memgov"
# Directories that the image has. A destination below any other first component shares one mount with its neighbours.
SYSTEM = {"bin", "boot", "dev", "etc", "home", "host", "lib", "lib64", "media", "mnt", "opt", "out", "proc", "root",
          "run", "sbin", "srv", "sys", "tmp", "usr", "var"}
ROOM_MIB = 512  # free space on the disk for what jobs write beside the files

FilePair = tuple[str | os.PathLike[str], str]


def make_disk(files: Iterable[FilePair], scratch: pathlib.Path) -> pathlib.Path:
    """An ext4 image in `scratch` with each (source, destination) and the agent.

    Raises ValueError for a destination that is not absolute, FileNotFoundError for a source that is not there,
    image.ImageError when mke2fs fails.
    """
    staging = scratch / "staging"
    staging.mkdir()
    mounts: dict[str, str] = {}
    for source, destination in files:
        path = pathlib.Path(source)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or directory")
        mount, inside = mount_point(destination)
        place = mounts.setdefault(mount, f"f{len(mounts)}")
        _stage(path, staging / place / inside if inside else staging / place)
    shutil.copy2(HERE / "guest/agent.sh", staging / "agent.sh")
    (staging / "mounts").write_text("".join(f"/host/{place} {mount}\n" for mount, place in mounts.items()))
    disk = scratch / "files.ext4"
    image.make_ext4(staging, disk, _tree_mib(staging) * 11 // 10 + ROOM_MIB)
    shutil.rmtree(staging)
    return disk


def mount_point(destination: str) -> tuple[str, str]:
    """Where to bind, and the path below it: ("/memgov", "tests/x") for /memgov/tests/x, ("/etc/x", "") for /etc/x."""
    parts = pathlib.PurePosixPath(destination).parts
    if not destination.startswith("/") or len(parts) < 2 or ".." in parts or any(c.isspace() for c in destination):
        raise ValueError(f"the destination '{destination}' must be an absolute path without spaces or '..'")
    if parts[1] in SYSTEM or len(parts) == 2:
        return "/" + "/".join(parts[1:]), ""
    return f"/{parts[1]}", "/".join(parts[2:])


def build_directory() -> pathlib.Path:
    """$MEMGOV_BUILD, else the repository's build/release."""
    return pathlib.Path(os.environ.get("MEMGOV_BUILD") or REPOSITORY / "build/release")


def stage_tree(build: str | os.PathLike[str] | None = None) -> list[FilePair]:
    """What a test or the demo needs of the repository, below /memgov in the guest.

    tests/ as it is, and every program and shared object of the build directory (default: build_directory()) at the
    same relative path, below /memgov/build/release whatever the directory's name is here.
    """
    build_dir = pathlib.Path(build) if build else build_directory()
    pairs: list[FilePair] = [(REPOSITORY / "tests", f"{GUEST_ROOT}/tests")]
    for program in programs(build_dir):
        pairs.append((program, f"{GUEST_ROOT}/build/release/{program.relative_to(build_dir)}"))
    return pairs


def tree_env(build: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """The environment that programs of a staged tree expect: where their build directory, its libraries and the
    fixtures are.

    The paths that CMake writes into programs are those of this machine.
    """
    build_dir = pathlib.Path(build) if build else build_directory()
    guest_build = f"{GUEST_ROOT}/build/release"
    libraries = {f"{guest_build}/{path.parent.relative_to(build_dir)}" for path in programs(build_dir)
                 if ".so" in path.suffixes}
    env = {"MEMGOV_BUILD": guest_build, "MEMGOV_FIXTURES": f"{GUEST_ROOT}/tests/fixtures"}
    if libraries:
        env["LD_LIBRARY_PATH"] = ":".join(sorted(libraries))
    return env


def programs(build_dir: pathlib.Path) -> list[pathlib.Path]:
    """The ELF programs and shared objects below a build directory, without CMake's own."""
    found = []
    for directory, names, files in os.walk(build_dir):
        names[:] = [name for name in names if name != "CMakeFiles"]
        for name in files:
            path = pathlib.Path(directory) / name
            if (os.access(path, os.X_OK) or ".so" in path.suffixes) and path.is_file() and _is_linked_elf(path):
                found.append(path)
    return sorted(found)


def _is_linked_elf(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        header = file.read(18)
    return header[:4] == b"\x7fELF" and header[16:18] in (b"\x02\x00", b"\x03\x00")  # ET_EXEC, ET_DYN


def _stage(source: pathlib.Path, place: pathlib.Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place, copy_function=_link_or_copy, symlinks=True, dirs_exist_ok=True)
    else:
        _link_or_copy(str(source.resolve()), str(place))


def _link_or_copy(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:  # another file system, or hard links are not allowed
        shutil.copy2(source, place, follow_symlinks=False)


def _tree_mib(tree: pathlib.Path) -> int:
    total = 0
    for directory, names, files in os.walk(tree):
        total += 4096 * (1 + len(names))
        total += sum(-(-os.lstat(os.path.join(directory, name)).st_size // 4096) * 4096 for name in files)
    return total // 2**20 + 1
