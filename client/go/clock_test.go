package memgov

import (
	"sync"
	"time"
)

// handClock is a clock that stands still until a test moves it.
type handClock struct {
	mu     sync.Mutex
	now    time.Duration
	alarms []*handAlarm
}

func newHandClock() *handClock { return &handClock{now: time.Hour} }

func (c *handClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock and rings what is due.
func (c *handClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += d
	for _, a := range c.alarms {
		a.ringIfDue()
	}
}

func (c *handClock) NewAlarm() alarm {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &handAlarm{clock: c, rings: make(chan time.Time, 1)}
	c.alarms = append(c.alarms, a)
	return a
}

type handAlarm struct {
	clock *handClock
	at    time.Duration
	set   bool
	rings chan time.Time
}

func (a *handAlarm) Set(at time.Duration) {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	a.at, a.set = at, true
	a.ringIfDue()
}

func (a *handAlarm) ringIfDue() {
	if a.set && a.clock.now >= a.at {
		a.set = false
		select {
		case a.rings <- time.Time{}:
		default:
		}
	}
}

func (a *handAlarm) Rings() <-chan time.Time { return a.rings }

func (a *handAlarm) Stop() {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	a.set = false
}
