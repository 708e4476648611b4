#!/usr/bin/python3
"""The story that a newcomer sees: ./dev demo. Everything is in the package; this file only finds it."""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from demo import cli  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.main())
