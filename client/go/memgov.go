// Package memgov lets the memory governor of the node ask this process for memory that it does not need.
//
// The shortest use is a blank import:
//
//	import _ "github.com/memgov/memgov/client/go/auto"
//
// or, to say more:
//
//	stop, err := memgov.Start(ctx, memgov.WithLogger(slog.Default()))
//
// From then on one quiet goroutine tells the governor how much of the heap is free and carries out what it asks for:
// a collection that gives free pages back to the kernel, a soft memory limit for a while, or caches that the program can
// make again (OnPressure). See README.md.
//
// It never harms its host. Without a governor it tries to connect about once a second and does nothing else. An
// explicit setting of the user wins: GOMEMLIMIT, GOGC=off, a limit set by debug.SetMemoryLimit. What it sets ends by
// itself when its time is over, and with stop. It exists on Linux; elsewhere Start does nothing.
//
// The environment: MEMGOV_SOCKET is the governor's socket (/run/memgov/memgov.sock if not set), MEMGOV_DISABLE=1 turns
// the client off. A program that has more rights than who started it (set-user-ID, file capabilities) takes neither from
// there.
package memgov

import (
	"context"
	"runtime"
	"sync"
)

// Version is the version of this client.
const Version = "0.1.0"

// started is the one agent of the process, shared by all Starts.
var started struct {
	sync.Mutex
	agent      *agent
	references int
}

// Start attaches this process to the governor and returns at once; whether there is a governor or not shows later. The
// error is about an option that cannot be right or a ctx that is over; it is nil where the client is turned off or not
// available.
//
// All Starts of a process are one: the first one's options hold, and the client runs until each has been stopped, by
// its stop or by the end of its ctx. The last stop undoes everything that was changed before it returns; it may take
// as long as a garbage collection or a call of a hook. Start and stop may be called from any goroutine; from a hook or an
// observer they return an error and do nothing.
func Start(ctx context.Context, opts ...Option) (stop func() error, err error) {
	if inCallback() {
		return nil, errInCallback
	}
	options, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if runtime.GOOS != "linux" || disabled(environment("MEMGOV_DISABLE")) {
		options.logger.Debug("memgov: turned off or not available here")
		return func() error { return nil }, nil
	}

	started.Lock()
	defer started.Unlock()
	if started.agent == nil {
		started.agent = newAgent(options, machineClock{})
		started.agent.start()
	} else if len(opts) > 0 {
		options.logger.Debug("memgov: already started; the options of the first Start hold")
	}
	started.references++
	release := sync.OnceValue(releaseStarted)
	forget := context.AfterFunc(ctx, func() { _ = release() })
	return func() error {
		if inCallback() {
			return errInCallback
		}
		forget()
		return release()
	}, nil
}

func releaseStarted() error {
	started.Lock()
	defer started.Unlock()
	started.references--
	if started.references > 0 {
		return nil
	}
	agent := started.agent
	started.agent = nil
	return agent.stop()
}

// disabled reads MEMGOV_DISABLE: anything but a plain no turns the client off.
func disabled(value string) bool {
	return value != "" && value != "0" && value != "false"
}
