package lru

import (
	"context"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"

	memgov "github.com/memgov/memgov/client/go"
	"github.com/memgov/memgov/client/go/examples/internal/governed"
)

func bytesOf(_ int, value []byte) int64 { return int64(len(value)) }

func filled(t testing.TB, entries int) *lru.Cache[int, []byte] {
	cache, err := lru.New[int, []byte](entries)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		value := make([]byte, 64<<10)
		for j := range value {
			value[j] = byte(i)
		}
		cache.Add(i, value)
	}
	return cache
}

func TestAGovernorGetsWhatItAsksForAndTheRestStays(t *testing.T) {
	cache := filled(t, 2048) // 128 MiB
	shedder := Attach(cache, 2048, "thumbnails", bytesOf)
	defer shedder.Detach()
	returned := governed.Shed(t, 64<<20, "thumbnails 64 MiB")
	if returned < 56<<20 {
		t.Errorf("%d bytes left the process", returned)
	}
	if cache.Len() != 1024 || cache.Contains(0) || !cache.Contains(2047) {
		t.Errorf("%d entries are left", cache.Len())
	}
	for i := range 2048 {
		if value, ok := cache.Get(i); ok && value[7] != byte(i) {
			t.Fatalf("entry %d is wrong", i)
		}
	}
	cache.Add(-1, nil) // it does not fill up again at once
	if cache.Len() != 1024 {
		t.Errorf("%d entries", cache.Len())
	}
}

func TestAnEmptyCacheGivesNothing(t *testing.T) {
	shedder := Attach(filled(t, 1), 1, "small", bytesOf)
	defer shedder.Detach()
	shedder.give(context.Background(), memgov.Pressure{Bytes: 1 << 20})
	if given := shedder.give(context.Background(), memgov.Pressure{Bytes: 1 << 20}); given != 0 {
		t.Errorf("%d bytes", given)
	}
}

func TestDetachGivesTheCapacityBack(t *testing.T) {
	cache := filled(t, 4)
	shedder := Attach(cache, 4, "", bytesOf)
	shedder.give(context.Background(), memgov.Pressure{Bytes: 3 * 64 << 10})
	shedder.Detach()
	for i := range 8 {
		cache.Add(i, nil)
	}
	if cache.Len() != 4 {
		t.Errorf("%d entries", cache.Len())
	}
}
