#!/bin/sh
# abi_test.sh NM READELF LIBRARY.so LIBRARY.a EXPORTS: what do the two files export and need?
set -eu
nm=$1 readelf=$2 shared=$3 static=$4 exports=$5
failures=0

# expect WHAT WANTED GOT
expect() {
  [ "$2" = "$3" ] && return
  printf '%s\n--- wanted\n%s\n--- got\n%s\n' "$1" "$2" "$3" >&2
  failures=1
}

wanted=$(sort "$exports")
expect "$shared exports something else than $exports" "$wanted" \
  "$("$nm" -D --defined-only "$shared" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort)"
expect "$static defines other global symbols than $exports" "$wanted" \
  "$("$nm" -g --defined-only "$static" | awk 'NF == 3 {print $3}' | sort)"
expect "$shared needs more than libc" "[libc.so.6]" \
  "$("$readelf" -d "$shared" | awk '/\(NEEDED\)/ {print $NF}')"
expect "$shared has another name" "[libmemgov.so.0]" \
  "$("$readelf" -d "$shared" | awk '/\(SONAME\)/ {print $NF}')"
expect "$shared could be unloaded under its running thread" "NODELETE" \
  "$("$readelf" -d "$shared" | grep -o NODELETE)"
expect "$shared has relocations in its code" "" \
  "$("$readelf" -d "$shared" | grep TEXTREL || true)"
[ "$failures" = 0 ] && echo "the ABI is as $exports says; $(stat -L -c %s "$shared") bytes"
exit "$failures"
