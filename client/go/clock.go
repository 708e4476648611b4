package memgov

// Time as a dependency, so that tests advance it by hand.

import "time"

// clock is where all times of the agent come from, so that tests advance it by hand. Times are since the clock's own
// zero.
type clock interface {
	Now() time.Duration
	NewAlarm() alarm
}

// alarm rings once at a time of its clock. Setting it again drops the earlier time; a ring that is late may still come,
// so who hears it looks at the clock.
type alarm interface {
	Set(at time.Duration) // at once, when that time is past
	Rings() <-chan time.Time
	Stop()
}

// machineClock is CLOCK_MONOTONIC.
type machineClock struct{}

func (machineClock) Now() time.Duration { return monotonic() }

func (machineClock) NewAlarm() alarm {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &machineAlarm{timer}
}

type machineAlarm struct{ timer *time.Timer }

func (a *machineAlarm) Set(at time.Duration) {
	a.timer.Stop()
	a.timer.Reset(max(at-monotonic(), 0))
}
func (a *machineAlarm) Rings() <-chan time.Time { return a.timer.C }
func (a *machineAlarm) Stop()                   { a.timer.Stop() }
