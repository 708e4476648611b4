// Package ristretto lets the governor ask a cache of github.com/dgraph-io/ristretto/v2 for memory.
//
//	shed, err := ristretto.New("pages", cache.Config[string, []byte]{MaxCost: 256 << 20, ...}, "\x00wedge")
//	defer shed.Close()
//	shed.Cache.Set(key, value, int64(len(value)))
//
// To copy and change. Ristretto evicts only to make room for what comes in, and only what is asked for less often than
// that. So a shed lowers the maximal cost and puts a wedge in: a key that nobody uses, made popular by asking for it where
// it must be. What goes is chosen by Ristretto itself, mostly what is used least. Costs must be bytes.
package ristretto

import (
	"context"
	"sync/atomic"

	cache "github.com/dgraph-io/ristretto/v2"

	memgov "github.com/memgov/memgov/client/go"
	"github.com/memgov/memgov/client/go/examples/internal/regrow"
)

// Shedder is a cache that the governor can ask.
type Shedder[K cache.Key, V any] struct {
	Cache *cache.Cache[K, V]

	wedge    K
	evicted  atomic.Int64 // cost of all that was evicted so far
	capacity *regrow.Capacity
	detach   func()
}

// New makes a cache and registers its hook. wedge is a key that the program does not use.
func New[K cache.Key, V any](name string, config cache.Config[K, V], wedge K, opts ...memgov.HookOption) (
	*Shedder[K, V], error) {
	s := &Shedder[K, V]{wedge: wedge}
	others := config.OnEvict
	config.OnEvict = func(item *cache.Item[V]) {
		s.evicted.Add(item.Cost)
		if others != nil {
			others(item)
		}
	}
	var err error
	if s.Cache, err = cache.NewCache(&config); err != nil {
		return nil, err
	}
	s.capacity = regrow.New(config.MaxCost, s.Cache.UpdateMaxCost)
	s.detach = memgov.OnPressure(s.give, append([]memgov.HookOption{memgov.Named(name)}, opts...)...)
	return s, nil
}

// Close takes the hook back and closes the cache.
func (s *Shedder[K, V]) Close() {
	s.detach()
	s.capacity.Restore()
	s.Cache.Close()
}

// give lowers the maximal cost by a sixteenth at a time: how full the cache is it does not say.
func (s *Shedder[K, V]) give(ctx context.Context, p memgov.Pressure) int64 {
	before := s.evicted.Load()
	freed := int64(0)
	for step := s.Cache.MaxCost() / 16; freed < p.Bytes && ctx.Err() == nil && s.Cache.MaxCost() > step; {
		s.Cache.UpdateMaxCost(s.Cache.MaxCost() - min(step, max(p.Bytes-freed, step/16)))
		s.drive()
		freed = s.evicted.Load() - before
	}
	s.capacity.Shrink(s.Cache.MaxCost())
	return freed
}

// drive puts the wedge in, and takes it out again. It is refused when five entries that Ristretto looks at are all more
// popular, so it tries others; when it has met none that is not for long, it makes the wedge popular.
func (s *Shedder[K, V]) drive() {
	const tries, inVain = 256, 16
	refused := 0
	for range tries {
		var nothing V
		before := s.evicted.Load()
		s.Cache.Set(s.wedge, nothing, 1)
		s.Cache.Wait()
		_, taken := s.Cache.Get(s.wedge)
		s.Cache.Del(s.wedge)
		s.Cache.Wait()
		if taken {
			return
		}
		if refused++; s.evicted.Load() > before {
			refused = 0
		}
		for i := 0; refused >= inVain && i < 64; i++ { // as many lookups are counted at a time
			s.Cache.Get(s.wedge)
		}
	}
}
