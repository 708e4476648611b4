// Package regrow gives a cache that was shed its capacity back in steps, over a minute: a cache that fills up at once is
// asked again at once.
package regrow

import (
	"sync"
	"time"
)

const (
	steps = 6
	every = 10 * time.Second
)

// Capacity is what a cache may hold, in units of its own. Safe for concurrent use.
type Capacity struct {
	whole int64
	set   func(int64)

	mu    sync.Mutex
	now   int64
	timer *time.Timer // nil: at its whole
}

// New begins with the whole capacity, which the cache has already. set tells the cache another one; it is called under a
// lock.
func New(whole int64, set func(now int64)) *Capacity {
	return &Capacity{whole: whole, set: set, now: whole}
}

// Shrink sets the capacity to what is left in the cache. From there it grows.
func (c *Capacity) Shrink(left int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = min(left, c.whole)
	c.set(c.now)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(every, c.grow)
}

// Restore ends the growing at the whole capacity.
func (c *Capacity) Restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
		c.now = c.whole
		c.set(c.now)
	}
}

func (c *Capacity) grow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		return
	}
	c.now = min(c.now+c.whole/steps+1, c.whole)
	c.set(c.now)
	if c.now == c.whole {
		c.timer = nil
		return
	}
	c.timer = time.AfterFunc(every, c.grow)
}
