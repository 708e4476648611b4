#!/bin/sh
# unit_file_test.sh BUILD UNITS: installs the governor into a directory of its own and has systemd check the unit that
# lies there: every setting is known, every program is there. Exit code 77: no systemd here.
set -eu
build=$1 units=$2
if ! command -v systemd-analyze >/dev/null; then
  echo "skipped: no systemd-analyze here (apt-get install systemd)"
  exit 77
fi
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cmake --install "$build" --component memgovd --prefix "$directory" >/dev/null
unit=$directory/$units/memgovd.service
# The unit names the programs where a package puts them.
program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
sed "s|$program|$directory/bin/memgovd|" "$unit" >"$directory/memgovd.service"
"$directory/bin/memgovd" --version
if ! grep -q '^ExecStopPost=.*/memgovd --restore \$MEMGOVD_OPTIONS$' "$unit"; then
  echo "ExecStopPost must restore with the options that memgovd ran with, such as --state-dir"
  exit 1
fi
# Complaints about other units of this machine are not ours.
problems=$(systemd-analyze verify --man=no "$directory/memgovd.service" 2>&1 | grep -F memgovd || true)
if [ -n "$problems" ]; then
  echo "$problems"
  exit 1
fi
echo "systemd finds nothing wrong with memgovd.service"
