package heap

// The soft limit: who set it, what its floor is, how it is undone.

import (
	"fmt"
	"math"
	"time"
)

// SoftLimit sets the runtime's soft memory limit for a while and puts back what was there.
//
// A soft limit below what a program needs makes it collect all the time, so three rules guard it. The limit follows
// the program's own floor (Sample.Floor), at each collection. It is lifted at once when the runtime's GC CPU limiter
// engages, and stays off until it would have ended. A limit that the user or the program sets always wins.
//
// Not safe for concurrent use; times are on one clock of the caller's choice.
type SoftLimit struct {
	set         func(int64) int64 // debug.SetMemoryLimit
	environment Environment

	inForce      int64 // what we set; 0: nothing of ours is in force
	before       int64 // what was there
	asked        int64
	ends         time.Duration
	judgedCycle  uint64 // the collection after which the limit was last judged
	limiterCycle uint64 // Sample.LimiterCycle when the limit was set

	barredUntil time.Duration // the limiter lifted a limit that would have lasted until then

	stray stray
}

// stray is a limit of ours that the program replaced by its own. It has read ours by that (debug.SetMemoryLimit returns
// the old limit), and may set it again when it is done: defer debug.SetMemoryLimit(debug.SetMemoryLimit(x)).
type stray struct{ limit, before int64 } // limit 0: none

// NewSoftLimit takes debug.SetMemoryLimit or a stand-in for it.
func NewSoftLimit(set func(int64) int64, environment Environment) *SoftLimit {
	return &SoftLimit{set: set, environment: environment}
}

// InForce returns the limit that we set, or 0.
func (l *SoftLimit) InForce() int64 { return l.inForce }

// Ends tells when the limit in force ends; false: none is.
func (l *SoftLimit) Ends() (time.Duration, bool) { return l.ends, l.inForce != 0 }

// Watching tells whether Tick has something to look after: a limit, or one of ours that the program may set again.
func (l *SoftLimit) Watching() bool { return l.inForce != 0 || l.stray.limit != 0 }

// Set makes the limit max(bytes, floor) until now+ttl. A later call renews or replaces an earlier one. The error says
// why the limit was not set; what was in force before then still is.
func (l *SoftLimit) Set(now time.Duration, bytes uint64, ttl time.Duration, s Sample) error {
	if err := l.objection(now, bytes, ttl, s); err != nil {
		return err
	}
	previous := int64(s.SoftLimit)
	want := max(int64(bytes), floorOf(s))
	if was := l.set(want); was != previous {
		l.set(was)
		l.lose()
		return fmt.Errorf("the program set its own limit of %d bytes", was)
	}
	if l.inForce == 0 {
		l.before = previous
		l.limiterCycle = s.LimiterCycle
	}
	l.stray = stray{}
	l.inForce, l.asked, l.ends, l.judgedCycle = want, int64(bytes), now+ttl, s.Cycles
	return nil
}

func (l *SoftLimit) objection(now time.Duration, bytes uint64, ttl time.Duration, s Sample) error {
	if err := l.notOurs(s); err != nil {
		return err
	}
	switch {
	case bytes >= NoLimit:
		return fmt.Errorf("%d bytes is no limit", bytes)
	case ttl <= 0:
		return fmt.Errorf("a TTL of 0 would end at once")
	case now < l.barredUntil:
		return fmt.Errorf("the last limit made the GC CPU limiter engage; none for another %v",
			(l.barredUntil - now).Round(time.Millisecond))
	case s.LimiterCycle != 0 && s.Cycles-s.LimiterCycle <= 1:
		return fmt.Errorf("the GC CPU limiter engaged at the last collection (%d)", s.LimiterCycle)
	}
	return nil
}

// notOurs says why the limit is not ours to change.
func (l *SoftLimit) notOurs(s Sample) error {
	switch {
	case l.environment.GOMEMLIMIT != "":
		return fmt.Errorf("the user set GOMEMLIMIT=%.64q", l.environment.GOMEMLIMIT)
	case s.SoftLimit != NoLimit && int64(s.SoftLimit) != l.inForce:
		return fmt.Errorf("the program set its own limit of %d bytes", s.SoftLimit)
	case s.GCPercent == math.MaxUint64:
		return fmt.Errorf("GOGC is off: a limit would turn the collector on")
	}
	return nil
}

// Tick ends the limit when its time is over, when it hurts, or when the program took over, and returns why; otherwise
// it keeps the limit at max(asked, floor) and returns "". Call it a few times a second while a limit is in force.
func (l *SoftLimit) Tick(now time.Duration, s Sample) string {
	switch {
	case l.inForce == 0 && l.fetchStray(int64(s.SoftLimit)):
		return "the program put back a limit that was ours"
	case l.inForce == 0:
		return ""
	case int64(s.SoftLimit) != l.inForce:
		l.lose()
		return fmt.Sprintf("the program set its own limit of %d bytes", s.SoftLimit)
	case s.LimiterCycle > l.limiterCycle:
		l.barredUntil = l.ends
		l.Undo()
		return fmt.Sprintf("the GC CPU limiter engaged at collection %d", s.LimiterCycle)
	case now >= l.ends:
		l.Undo()
		return "its time is over"
	case s.GCPercent == math.MaxUint64:
		l.Undo()
		return "the program turned GOGC off"
	case s.Cycles == l.judgedCycle:
		return ""
	}
	l.judgedCycle = s.Cycles
	want := max(l.asked, floorOf(s))
	if slack := l.inForce / 64; want > l.inForce+slack || want < l.inForce-slack {
		l.move(want)
	}
	return ""
}

// Undo puts back what was there before, unless the program has set a limit of its own since.
func (l *SoftLimit) Undo() {
	if l.inForce != 0 {
		l.move(l.before)
		l.inForce = 0
	}
	if l.stray.limit != 0 {
		l.fetchStray(l.set(-1))
	}
}

// move changes our limit to another one. A limit that the program set a moment ago stays.
func (l *SoftLimit) move(to int64) {
	if was := l.set(to); was != l.inForce {
		l.set(was)
		l.lose()
		return
	}
	l.inForce = to
}

// lose notes that the program has replaced our limit.
func (l *SoftLimit) lose() {
	if l.inForce != 0 {
		l.stray = stray{limit: l.inForce, before: l.before}
	}
	l.inForce = 0
}

// fetchStray takes a limit back that the program set again, as the old one, although it was ours.
func (l *SoftLimit) fetchStray(limit int64) bool {
	if l.stray.limit == 0 || limit != l.stray.limit {
		return false
	}
	if was := l.set(l.stray.before); was != limit {
		l.set(was)
		return false
	}
	l.stray = stray{}
	return true
}

func floorOf(s Sample) int64 {
	return int64(min(s.Floor(), NoLimit-1))
}
