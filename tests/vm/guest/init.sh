#!/bin/busybox sh
# /init of the initramfs: loads the drivers that the kernel has as modules, mounts the root disk and the disk with
# this run's files, and hands over to the agent on it. Anything that fails here ends in a panic, which the host
# reports with the console's tail.
set -e
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
for module in $($b cat /modules/order); do $b insmod "/modules/$module.ko"; done

# As on the hosts that memgov is measured on. With Debian's default, `always`, a page given back from the middle of a
# huge page stays charged until the kernel splits that under pressure, and what a release returned cannot be seen.
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled

# The disks are named by their serial, so that the order in which they are found does not matter.
disk() {
  local tries=0 entry
  while [ $tries -lt 1000 ]; do
    for entry in /sys/block/vd*; do
      [ -e "$entry/serial" ] && [ "$($b cat "$entry/serial")" = "$1" ] && echo "/dev/${entry##*/}" && return 0
    done
    $b usleep 10000
    tries=$((tries + 1))
  done
  echo "no disk with the serial '$1'" >&2
  return 1
}
$b mount -t ext4 -o noatime "$(disk root)" /root
$b mount -t ext4 -o noatime "$(disk files)" /root/host
for fs in dev proc sys; do $b mount --move "/$fs" "/root/$fs"; done
exec $b switch_root /root /bin/sh /host/agent.sh
