// Package lru lets the governor ask a cache of github.com/hashicorp/golang-lru/v2 for memory.
//
//	cache, _ := lru.New[string, []byte](100_000)
//	shed := lru.Attach(cache, 100_000, "thumbnails", func(key string, value []byte) int64 { return int64(len(key) + len(value)) })
//	defer shed.Detach()
//
// To copy and change, as the other examples are. Three things make a hook a good one: it takes the cache's lock for an
// entry at a time, so that requests go on; it stops when its time is up; and the cache does not fill up again as fast as
// its users miss what is gone.
package lru

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"

	memgov "github.com/memgov/memgov/client/go"
	"github.com/memgov/memgov/client/go/examples/internal/regrow"
)

// Shedder is a cache that the governor can ask.
type Shedder[K comparable, V any] struct {
	cache    *lru.Cache[K, V]
	bytesOf  func(K, V) int64
	capacity *regrow.Capacity
	detach   func()
}

// Attach registers a hook for a cache of at most `entries`. bytesOf says what an entry holds; entries that nobody else
// refers to are what a shed can free.
func Attach[K comparable, V any](cache *lru.Cache[K, V], entries int, name string, bytesOf func(K, V) int64,
	opts ...memgov.HookOption) *Shedder[K, V] {
	s := &Shedder[K, V]{cache: cache, bytesOf: bytesOf}
	s.capacity = regrow.New(int64(entries), func(now int64) { cache.Resize(int(max(now, 1))) })
	s.detach = memgov.OnPressure(s.give, append([]memgov.HookOption{memgov.Named(name)}, opts...)...)
	return s
}

// Detach takes the hook back and gives the cache its whole capacity.
func (s *Shedder[K, V]) Detach() {
	s.detach()
	s.capacity.Restore()
}

func (s *Shedder[K, V]) give(ctx context.Context, p memgov.Pressure) (freed int64) {
	for freed < p.Bytes && ctx.Err() == nil {
		key, value, ok := s.cache.RemoveOldest()
		if !ok {
			break
		}
		freed += s.bytesOf(key, value)
	}
	s.capacity.Shrink(int64(s.cache.Len()))
	return freed
}
