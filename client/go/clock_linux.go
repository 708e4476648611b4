package memgov

// CLOCK_MONOTONIC, which other processes of this machine can compare with.

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic reads CLOCK_MONOTONIC, which other processes can compare with; time.Time hides it.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // the kernel has had it since 2.6
	}
	return time.Duration(now.Nano())
}
