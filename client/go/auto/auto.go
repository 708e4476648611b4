// Package auto attaches the program that imports it to the memory governor of the node:
//
//	import _ "github.com/memgov/memgov/client/go/auto"
//
// Nothing else is needed, nothing is printed, and without a governor nothing happens. MEMGOV_SOCKET names another
// socket than /run/memgov/memgov.sock; MEMGOV_DISABLE=1 turns the client off. Programs that want a log, a name or a
// way to stop call memgov.Start instead.
package auto

import (
	"context"

	memgov "github.com/memgov/memgov/client/go"
)

func init() {
	// A service must start whatever becomes of its helper: an error here (a socket path that cannot be right) means
	// the same as no governor.
	_, _ = memgov.Start(context.Background())
}
