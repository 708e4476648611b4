#!/bin/sh
# install_test.sh SOURCE BUILD LIBDIR VERSION: installs the C client into a directory of its own and builds the examples
# against that alone, through pkg-config and through find_package, shared and static; then moves it and builds again.
set -eu
source=$1 build=$2 libdir=$3 version=$4
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
for component in libmemgov0 libmemgov-dev; do
  cmake --install "$build" --component "$component" --prefix "$directory/first" >/dev/null
done

# run PROGRAM: the examples count the words and lines of their input, governed or not.
run() {
  answer=$(printf 'set a 1\nget a\nthe end of the end\n' | LD_LIBRARY_PATH="$prefix/$libdir" "$@")
  case "$answer" in
    *"memgov $version"*) ;;
    *) echo "$* says: $answer" >&2; exit 1 ;;
  esac
}

for prefix in "$directory/first" "$directory/moved"; do
  [ -d "$prefix" ] || mv "$directory/first" "$prefix"
  export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
  [ "$(pkg-config --modversion memgov)" = "$version" ]
  out=$directory/out-${prefix##*/}
  mkdir "$out"
  # shellcheck disable=SC2046
  cc -Wall -Wextra -Werror -o "$out/words" "$source/client/examples/c/words.c" $(pkg-config --cflags --libs memgov)
  # shellcheck disable=SC2046
  c++ -std=c++20 -Wall -Wextra -Werror -o "$out/store" "$source/client/examples/cpp/store.cc" \
    $(pkg-config --cflags --libs memgov)
  run "$out/words"
  run "$out/store"
  cmake -S "$source/client/examples" -B "$out/cmake" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
  cmake --build "$out/cmake" >/dev/null
  for program in words words_static store; do run "$out/cmake/$program"; done
  ldd "$out/cmake/words" | grep -q 'libmemgov\.so\.0'
  if ldd "$out/cmake/words_static" | grep libmemgov; then exit 1; fi
  if LD_LIBRARY_PATH="$prefix/$libdir" LD_PRELOAD=libmemgov_preload.so "$out/words" </dev/null 2>&1 | grep ERROR; then
    exit 1
  fi
done
echo "the examples build and run against what is installed"
