package heap

// What was decided when this process started: the release mode and the user's own limits.

import (
	"os"
	"strconv"
	"strings"
)

// Environment is what the user said at start-up about Go's memory. The runtime reads it once, so a later os.Setenv
// changes nothing, here neither.
type Environment struct {
	GODEBUG    string
	GOMEMLIMIT string
}

// Startup is the environment of this process.
var Startup = Environment{GODEBUG: os.Getenv("GODEBUG"), GOMEMLIMIT: os.Getenv("GOMEMLIMIT")}

// LazyRelease tells how the runtime gives pages back on Linux for the life of the process: true with MADV_FREE
// (GODEBUG=madvdontneed=0), false with MADV_DONTNEED (the default since Go 1.16). As the runtime does, it takes the
// last setting and passes over one that is no number.
func (e Environment) LazyRelease() bool {
	lazy := false
	for _, field := range strings.Split(e.GODEBUG, ",") {
		value, ok := strings.CutPrefix(field, "madvdontneed=")
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(value, 10, 32); err == nil {
			lazy = n == 0
		}
	}
	return lazy
}
