package memgov

// Whether the program has more rights than who started it.

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strconv"
)

const (
	auxEnd    = 0
	auxSecure = 23 // AT_SECURE of getauxval(3)
)

// gainedRights says that the kernel gave this program rights at its start that who started it has not: set-user-ID,
// set-group-ID, file capabilities. Read before main, which may close /proc/self to the program itself by
// PR_SET_DUMPABLE.
var gainedRights = readGainedRights("/proc/self/auxv", sameIDs())

func sameIDs() bool { return os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() }

// readGainedRights reads AT_SECURE. Who may not read the file has been closed to its own user at its start, as
// programs are that gained rights; where there is no /proc, the ids have to tell.
func readGainedRights(file string, sameIDs bool) bool {
	auxv, err := os.ReadFile(file)
	if err != nil {
		return !sameIDs || errors.Is(err, fs.ErrPermission)
	}
	return secureIn(auxv) || !sameIDs
}

// secureIn looks AT_SECURE up in an auxiliary vector: pairs of words, the last of type 0.
func secureIn(auxv []byte) bool {
	const word = strconv.IntSize / 8
	for ; len(auxv) >= 2*word; auxv = auxv[2*word:] {
		switch kind, value := wordOf(auxv), wordOf(auxv[word:]); kind {
		case auxSecure:
			return value != 0
		case auxEnd:
			return false
		}
	}
	return false
}

func wordOf(b []byte) uint64 {
	if strconv.IntSize == 32 {
		return uint64(binary.NativeEndian.Uint32(b))
	}
	return binary.NativeEndian.Uint64(b)
}
