#!/bin/sh
# mmdebstrap's customize hook: downloads the kernel that a meta package points at, with the image's own package
# sources, and unpacks it beside the image. It is not installed: that would generate an initramfs that nobody boots.
# usage: fetch_kernel.sh META_PACKAGE DESTINATION ROOT
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends --important "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "$1 depends on no kernel package" >&2; exit 1; }
mkdir -p "$2/download"
cd "$2/download"
apt-get -o APT::Sandbox::User=root download "$package"
dpkg-deb -x ./*.deb "$2"
rm -r "$2/download"
mkdir "$3/host" "$3/out"
