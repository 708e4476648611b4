package memgov

// How long to wait before the next attempt to reach a governor.

import (
	"math/rand/v2"
	"time"
)

const (
	shortestBackoff = 100 * time.Millisecond
	longestBackoff  = time.Second
	// After a refusal, on either side: it will mostly be the same again.
	refusedBackoff = 30 * time.Second
)

// backoff is the time between two tries: it doubles from the shortest to the longest. The zero value starts anew.
type backoff time.Duration

// next returns how long to wait now, doubling up to the longest: from half the time on, so that the processes of a node do not all come back at once.
func (b *backoff) next(longest time.Duration) time.Duration {
	d := min(max(2*time.Duration(*b), shortestBackoff), longest)
	*b = backoff(d)
	return d/2 + rand.N(d/2)
}
