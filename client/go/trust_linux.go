package memgov

// What Linux tells of who listens at a socket, for the judgement in trust.go.

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// trust says why who listens at the other end is not to be obeyed; nil: it is.
func trust(conn net.Conn, socket string) error {
	l, err := listenerOf(conn)
	if err != nil {
		return refusal{errors.New("not obeyed: the system does not say whose the socket is")}
	}
	if l.objection() == nil {
		return nil
	}
	l.lookAround(socket)
	return l.objection()
}

func listenerOf(conn net.Conn) (l listener, err error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return l, err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return l, err
	}
	ruid, euid, suid := unix.Getresuid()
	return listener{
		uid: peer.Uid, pid: peer.Pid, own: [3]uint32{uint32(ruid), uint32(euid), uint32(suid)}, allMapped: true,
	}, nil
}

// lookAround finds out what tells about a user outside of our namespace. Without /proc everybody is taken for what they
// show as.
func (l *listener) lookAround(socket string) {
	l.overflow = defaultOverflowUID
	if text, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil {
		if uid, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil {
			l.overflow = uint32(uid)
		}
	}
	if text, err := os.ReadFile("/proc/self/uid_map"); err == nil && len(text) > 0 {
		l.allMapped, l.overflowMapped = readUIDMap(string(text), l.overflow)
	}
	var info unix.Stat_t
	if unix.Stat(filepath.Dir(socket), &info) == nil {
		l.directoryKnown, l.directoryUID, l.directoryMode = true, info.Uid, info.Mode
	}
}
