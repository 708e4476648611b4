package memgov

// Whom this process obeys: who listens at the governor's socket must be root, or the user as whom alone the process runs.
// The rule is the C client's (client/c/trust.h), and so is its reason.

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// listener is what is known when a connection stands.
type listener struct {
	uid            uint32    // as whom it began to listen (SO_PEERCRED)
	pid            int32     // 0: it is outside of our pid namespace
	own            [3]uint32 // real, effective, saved
	overflow       uint32    // what a user outside of our user namespace shows as
	allMapped      bool      // there are no such users
	overflowMapped bool      // ... and none inside shows as that

	directoryKnown bool // the socket's directory:
	directoryUID   uint32
	directoryMode  uint32 // st_mode
}

const defaultOverflowUID = 65534

// objection says why this one is not obeyed, and what to do; nil: it is. Pure.
func (l listener) objection() error {
	ours := !slices.ContainsFunc(l.own[:], func(own uint32) bool { return own != l.uid })
	outside := !l.allMapped && l.uid == l.overflow && (!l.overflowMapped || l.pid == 0)
	switch {
	case l.uid == 0 || ours:
		return nil
	case !outside:
		return refusal{fmt.Errorf("not obeyed: the socket belongs to user %d, and only root or our own user (%d) is: "+
			"run memgovd as one of them", l.uid, l.own[1])}
	case l.directoryKnown && l.directoryMode&0o022 == 0 &&
		(l.directoryUID == 0 || l.directoryUID == l.own[1] || l.directoryUID == l.overflow):
		return nil
	}
	return refusal{fmt.Errorf("not obeyed: the socket belongs to a user outside of our user namespace, and others can " +
		"write its directory: make that root's alone (chmod go-w)")}
}

// readUIDMap reads /proc/self/uid_map: whether all ids are mapped, and whether uid is.
func readUIDMap(text string, uid uint32) (all, mapped bool) {
	var total uint64
	for _, line := range strings.Split(text, "\n") {
		var inside, outside, count uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n < 3 {
			continue
		}
		total += count // ranges do not overlap
		mapped = mapped || uint64(uid) >= inside && uint64(uid)-inside < count
	}
	return total >= math.MaxUint32, mapped
}
