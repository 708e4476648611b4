//go:build !race

// Ristretto collects its counts in a sync.Pool, from which the race detector has things lost at random: none is ever full.

package ristretto

import (
	"context"
	"testing"
	"time"

	memgov "github.com/memgov/memgov/client/go"
)

func TestWhatIsUsedMostStays(t *testing.T) {
	shedder := filled(t, 1024)
	// It drops counts that come faster than it can take them.
	for deadline := time.Now().Add(30 * time.Second); shedder.Cache.Metrics.GetsKept() < 32*128; {
		if time.Now().After(deadline) {
			t.Fatalf("%d lookups were counted", shedder.Cache.Metrics.GetsKept())
		}
		for i := range 128 {
			shedder.Cache.Get(i)
		}
		time.Sleep(time.Millisecond)
	}
	shedder.give(context.Background(), memgov.Pressure{Bytes: 512 * entryBytes})
	if left := here(shedder, 128); left < 96 {
		t.Errorf("%d of the 128 entries that are used are left", left)
	}
}
