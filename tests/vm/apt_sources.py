"""The Debian package sources of this machine, for building an image of another Debian release.

The image must come from wherever this machine gets its own Debian packages (a mirror, a proxy, the public servers),
so nothing here names a server: apt itself is asked. Only sources whose signed Release file says "Origin: Debian"
count; a machine's other sources stay out of the image.
"""

import os
import subprocess

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class NoDebianSource(Exception):
    """apt on this machine knows no Debian archive."""


def debian_sources(suite: str) -> list[str]:
    """sources.list lines for `suite` and its security updates, taken from apt's own configuration.

    Raises NoDebianSource when apt has none, even after an `apt-get update`.
    """
    archives = _archives()
    if "Debian" not in archives:  # a fresh machine has not fetched any Release file yet
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL, check=False)
        archives = _archives()
    if "Debian" not in archives:
        raise NoDebianSource("apt on this machine has no source with 'Origin: Debian' (see `apt-get indextargets`)")
    options = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
    lines = [f"deb {options}{archives['Debian']} {suite} main"]
    if "Debian-Security" in archives:
        lines.append(f"deb {options}{archives['Debian-Security']} {suite}-security main")
    return lines


def _archives() -> dict[str, str]:
    """Release label ("Debian", "Debian-Security") -> archive address."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
        stdout=subprocess.PIPE, text=True, check=True).stdout
    return parse_archives(listing)


def parse_archives(listing: str) -> dict[str, str]:
    """The first address of each label among the lines "origin|label|address" of Debian's own archives."""
    archives: dict[str, str] = {}
    for line in listing.splitlines():
        origin, _, rest = line.partition("|")
        label, _, address = rest.partition("|")
        if origin == "Debian" and address:
            archives.setdefault(label, address)
    return archives
