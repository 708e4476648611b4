package ristretto

import (
	"context"
	"testing"

	cache "github.com/dgraph-io/ristretto/v2"

	memgov "github.com/memgov/memgov/client/go"
	"github.com/memgov/memgov/client/go/examples/internal/governed"
)

const entryBytes = 64 << 10

func filled(t testing.TB, entries int) *Shedder[int, []byte] {
	shedder, err := New("pages", cache.Config[int, []byte]{
		NumCounters: int64(10 * entries), MaxCost: int64(entries * entryBytes), BufferItems: 64, IgnoreInternalCost: true,
		Metrics: true,
	}, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shedder.Close)
	for i := range entries {
		value := make([]byte, entryBytes)
		for j := range value {
			value[j] = byte(i)
		}
		for !shedder.Cache.Set(i, value, entryBytes) { // its buffer is full
			shedder.Cache.Wait()
		}
	}
	shedder.Cache.Wait()
	return shedder
}

func here(s *Shedder[int, []byte], entries int) (count int) {
	for i := range entries {
		if value, ok := s.Cache.Get(i); ok && value[7] == byte(i) {
			count++
		}
	}
	return count
}

func TestAGovernorGetsWhatItAsksForAndTheRestStays(t *testing.T) {
	shedder := filled(t, 2048) // 128 MiB
	returned := governed.Shed(t, 48<<20, "pages ")
	if returned < 40<<20 {
		t.Errorf("%d bytes left the process", returned)
	}
	if left := here(shedder, 2048); left < 1024 || left > 1300 {
		t.Errorf("%d of 2048 entries are left, 768 were asked for", left)
	}
	if most := shedder.Cache.MaxCost(); most > 90<<20 {
		t.Errorf("it may fill up to %d MiB at once", most>>20)
	}
}

func TestAHalfEmptyCacheGivesToo(t *testing.T) {
	shedder := filled(t, 512)
	for i := range 256 {
		shedder.Cache.Del(i)
	}
	shedder.Cache.Wait()
	if given := shedder.give(context.Background(), memgov.Pressure{Bytes: 100 * entryBytes}); given < 100*entryBytes {
		t.Errorf("%d bytes", given)
	}
}
