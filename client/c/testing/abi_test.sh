#!/bin/sh
# abi_test.sh NM READELF LIBRARY.so LIBRARY.a EXPORTS PRELOAD.so PRELOAD_EXPORTS: what do the files export and need?
set -eu
nm=$1 readelf=$2 shared=$3 static=$4 exports=$5 preload=$6 preload_exports=$7
failures=0

# expect WHAT WANTED GOT
expect() {
  [ "$2" = "$3" ] && return
  printf '%s\n--- wanted\n%s\n--- got\n%s\n' "$1" "$2" "$3" >&2
  failures=1
}

exported() { "$nm" -D --defined-only "$1" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort; }

wanted=$(sort "$exports")
expect "$shared exports something else than $exports" "$wanted" "$(exported "$shared")"
expect "$preload exports something else than $preload_exports" "$(sort "$preload_exports")" "$(exported "$preload")"
expect "$static defines other global symbols than $exports" "$wanted" \
  "$("$nm" -g --defined-only "$static" | awk 'NF == 3 {print $3}' | sort)"
expect "$shared has another name" "[libmemgov.so.0]" \
  "$("$readelf" -d "$shared" | awk '/\(SONAME\)/ {print $NF}')"
for each in "$shared" "$preload"; do
  expect "$each needs more than libc" "[libc.so.6]" \
    "$("$readelf" -d "$each" | awk '/\(NEEDED\)/ {print $NF}')"
  expect "$each could be unloaded under its running thread" "NODELETE" \
    "$("$readelf" -d "$each" | grep -o NODELETE)"
  expect "$each has relocations in its code" "" \
    "$("$readelf" -d "$each" | grep TEXTREL || true)"
done
[ "$failures" = 0 ] && echo "the ABI is as $exports says; $(stat -L -c %s "$shared") bytes"
exit "$failures"
