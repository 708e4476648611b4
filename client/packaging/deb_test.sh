#!/bin/sh
# deb_test.sh SOURCE BUILD LIBDIR VERSION: builds the Debian packages of the C client and looks into them.
set -eu
build=$2 libdir=$3 version=$4
command -v dpkg-shlibdeps >/dev/null || { echo "dpkg-dev is not installed" >&2; exit 1; }
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$directory" >"$directory/log" 2>&1 ||
  { cat "$directory/log" >&2; exit 1; }
architecture=$(dpkg --print-architecture)
runtime=$directory/libmemgov0_${version}_$architecture.deb
development=$directory/libmemgov-dev_${version}_$architecture.deb

# expect WHAT WANTED GOT
expect() {
  [ "$2" = "$3" ] && return
  printf '%s\n--- wanted\n%s\n--- got\n%s\n' "$1" "$2" "$3" >&2
  exit 1
}
files() { dpkg-deb --fsys-tarfile "$1" | tar -t | grep -v '/$' | sed 's|^\./||' | LC_ALL=C sort; }

expect "files of libmemgov0" "$(printf '%s\n' \
  "usr/$libdir/libmemgov.so.0" "usr/$libdir/libmemgov.so.$version" "usr/$libdir/libmemgov_preload.so" |
  LC_ALL=C sort)" "$(files "$runtime")"
targets=usr/$libdir/cmake/memgov/memgovTargets
expect "files of libmemgov-dev" "$(printf '%s\n' \
  usr/include/memgov/memgov.h usr/include/memgov/memgov.hpp "usr/$libdir/libmemgov.a" "usr/$libdir/libmemgov.so" \
  "usr/$libdir/pkgconfig/memgov.pc" "usr/$libdir/cmake/memgov/memgovConfig.cmake" \
  "usr/$libdir/cmake/memgov/memgovConfigVersion.cmake" "$targets.cmake" | LC_ALL=C sort)" \
  "$(files "$development" | grep -v "^$targets-")"
expect "what libmemgov0 needs" "libc6" "$(dpkg-deb -f "$runtime" Depends | sed 's/ (.*//')"
expect "what libmemgov-dev needs" "libmemgov0 (= $version)" "$(dpkg-deb -f "$development" Depends)"
dpkg-deb --info "$runtime" | grep -q shlibs
mkdir "$directory/root"
dpkg-deb -x "$runtime" "$directory/root"
LD_PRELOAD=$directory/root/usr/$libdir/libmemgov_preload.so /bin/true
echo "libmemgov0: $(stat -c %s "$runtime") bytes, libmemgov-dev: $(stat -c %s "$development") bytes"
