//go:build !linux

package memgov

import "time"

var birth = time.Now()

func monotonic() time.Duration { return time.Since(birth) }
