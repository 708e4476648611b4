"""A small initramfs: busybox, the drivers that Debian's kernel has as modules, and guest/init.sh.

Debian's own generator makes one of 30 MB for any machine and needs udev; under emulation that would cost seconds at
every boot. Ours knows the machine it boots on and is 2 MB.
"""

import pathlib
import re
import shutil
import subprocess


def build(busybox: pathlib.Path, kernel_modules: pathlib.Path, wanted: tuple[str, ...], init: pathlib.Path,
          work: pathlib.Path, output: pathlib.Path) -> None:
    """Writes the archive to `output`; `work` is a scratch directory. `kernel_modules` is a lib/modules/VERSION.

    Raises LookupError for a module that the kernel has neither built in nor as a file.
    """
    for directory in ("bin", "dev", "proc", "sys", "root", "modules"):
        (work / directory).mkdir(parents=True)
    shutil.copy2(busybox, work / "bin/busybox")
    shutil.copy2(init, work / "init")
    (work / "init").chmod(0o755)
    files = {path.stem.replace("-", "_"): path for path in kernel_modules.rglob("*.ko")}
    builtin = {pathlib.PurePath(line).stem.replace("-", "_")
               for line in (kernel_modules / "modules.builtin").read_text().split()}
    order = load_order([name for name in wanted if name not in builtin], files, builtin)
    for name in order:
        shutil.copy2(files[name], work / f"modules/{name}.ko")
    (work / "modules/order").write_text("".join(f"{name}\n" for name in order))
    names = "".join(f"{path.relative_to(work)}\n" for path in sorted(work.rglob("*")))
    with output.open("wb") as archive:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=work, input=names.encode(),
                       stdout=archive, check=True)


def load_order(wanted: list[str], files: dict[str, pathlib.Path], builtin: set[str]) -> list[str]:
    """The wanted modules and what they depend on, each after its dependencies."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name in builtin:
            return
        if name not in files:
            raise LookupError(f"the kernel has no module '{name}'")
        for dependency in depends(files[name].read_bytes()):
            visit(dependency)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


def depends(module: bytes) -> list[str]:
    """The modules that a module file names in its .modinfo section."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    if not match:
        return []
    return [name.replace("-", "_") for name in match.group(1).decode().split(",") if name]
