package memgov

// The environment, as far as it may be believed.

import "os"

// environment returns a variable of the environment; empty where that was written by somebody with fewer rights than
// this program has, who must not choose whom it obeys. GODEBUG and GOMEMLIMIT are read all the same (internal/heap): Go's
// runtime has obeyed them by then, and the client only says so.
func environment(variable string) string {
	if gainedRights {
		return ""
	}
	return os.Getenv(variable)
}
