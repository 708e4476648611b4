# Process 1 of the guest: completes the mounts, then serves the host's requests, one line each on the control port,
# until the host says "off".
#
#   host > run BASE64      guest > exit CODE     runs the shell script; its output goes to the stdout and stderr ports
#   host > collect PATH    guest > size BYTES    then sends that many bytes, a tar of PATH, on the archive port
#   host > off                                   powers off
#
# A port can be opened once only, so a job writes to pipes: its children may open /dev/stderr again. Until "ready" any
# failure ends process 1, so the kernel panics and the host shows the console.
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8
work=/run/agent

prepare() {
  mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /dev/pts /dev/shm /run/lock $work /out
  mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  ln -s /proc/self/fd /dev/fd
  ln -s fd/0 /dev/stdin
  ln -s fd/1 /dev/stdout
  ln -s fd/2 /dev/stderr
  hostname memgov-vm
  busybox ip link set lo up
  # The kernel's record stays in dmesg: printing every kill on the emulated serial line would slow the runs.
  echo 1 >/proc/sys/kernel/printk
  echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control
  ulimit -Hn 524288  # as systemd does
}

# The host lists what it passed as "source destination" below /host; each is bound to its place.
bind_files() {
  while read -r source destination; do
    if [ -d "$source" ]; then
      mkdir -p "$destination"
    else
      mkdir -p "${destination%/*}"
      [ -e "$destination" ] || : >"$destination"
    fi
    mount --bind "$source" "$destination"
  done </host/mounts
}

port() {
  for entry in /sys/class/virtio-ports/*; do
    if [ "$(cat "$entry/name")" = "memgov.$1" ]; then
      echo "/dev/${entry##*/}"
      return 0
    fi
  done
  echo "no port memgov.$1" >&2
  return 1
}

# What a job leaves running ends with it; the two relays live until the last writer is gone.
run_job() {
  echo "$1" | base64 -d >$work/job
  cat <$work/stdout >&4 &
  relay_out=$!
  cat <$work/stderr >&5 &
  relay_err=$!
  setsid --wait sh -c "sh $work/job; exit \$?" </dev/null >$work/stdout 2>$work/stderr 3>&- 4>&- 5>&- 6>&-
  code=$?
  killall5 -9 -o $relay_out -o $relay_err
  wait $relay_out $relay_err
  echo "exit $code" >&3
}

collect() {
  tar -C "$1" -cf /var/tmp/agent.tar . && size=$(stat -c %s /var/tmp/agent.tar) || size=-1
  echo "size $size" >&3
  [ "$size" -lt 0 ] || cat /var/tmp/agent.tar >&6
  rm -f /var/tmp/agent.tar
}

prepare
bind_files
exec 3<>"$(port control)" 4>"$(port stdout)" 5>"$(port stderr)" 6>"$(port archive)"
mkfifo $work/stdout $work/stderr
set +e
echo "ready $(cut -d' ' -f1 /proc/uptime)" >&3
while read -r verb argument <&3; do
  case $verb in
    run) run_job "$argument" ;;
    collect) collect "$argument" ;;
    off) busybox poweroff -f ;;
  esac
done
