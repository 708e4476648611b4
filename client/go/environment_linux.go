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

// readGainedRights reads AT_SECURE. Where there is no /proc, the ids have to tell; any other error is taken for gained
// rights: such programs are closed to their own user, and who started one may have left it no descriptors.
func readGainedRights(file string, sameIDs bool) bool {
	auxv, err := os.ReadFile(file)
	if err != nil {
		return !sameIDs || !errors.Is(err, fs.ErrNotExist)
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
