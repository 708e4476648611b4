//go:build !linux

package heap

import (
	"errors"
	"time"
)

// Resident is known on Linux only.
func Resident() (uint64, error) { return 0, errors.ErrUnsupported }

func threadTime() time.Duration { return 0 }
