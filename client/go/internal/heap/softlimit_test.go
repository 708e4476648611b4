package heap

import (
	"math"
	"strings"
	"testing"
	"time"
)

const mib = 1 << 20

// goRuntime stands in for debug.SetMemoryLimit and the metrics of a program with 100 MiB of live objects.
type goRuntime struct {
	limit  int64
	sample Sample
}

func newRuntime() *goRuntime {
	return &goRuntime{limit: NoLimit, sample: Sample{
		Live: 100 * mib, Objects: 110 * mib, Free: 200 * mib, Unused: 5 * mib, Total: 325 * mib, GCPercent: 100, Cycles: 10,
	}}
}

func (r *goRuntime) set(limit int64) int64 {
	was := r.limit
	if limit >= 0 {
		r.limit = limit
	}
	return was
}

func (r *goRuntime) read() Sample {
	r.sample.SoftLimit = uint64(r.limit)
	return r.sample
}

func (r *goRuntime) collected(live uint64) {
	r.sample.Cycles++
	r.sample.Live, r.sample.Objects = live, live
}

const floor = 120*mib + 5*mib + 10*mib // live × 1.2, fragmentation, non-heap

func mustSet(t *testing.T, l *SoftLimit, r *goRuntime, now time.Duration, bytes uint64, ttl time.Duration) {
	t.Helper()
	if err := l.Set(now, bytes, ttl, r.read()); err != nil {
		t.Fatal(err)
	}
}

func wantLimit(t *testing.T, r *goRuntime, want int64) {
	t.Helper()
	if r.limit != want {
		t.Errorf("the runtime's limit is %d, want %d", r.limit, want)
	}
}

func TestLimitEndsWithItsTTL(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	mustSet(t, l, r, 0, 300*mib, 30*time.Second)
	wantLimit(t, r, 300*mib)

	if why := l.Tick(30*time.Second-1, r.read()); why != "" {
		t.Errorf("ended 1 ns early: %s", why)
	}
	if why := l.Tick(30*time.Second, r.read()); !strings.Contains(why, "time") {
		t.Errorf("ended because %q, want its time", why)
	}
	wantLimit(t, r, NoLimit)
	if _, inForce := l.Ends(); inForce {
		t.Error("still said to be in force")
	}
}

func TestLaterDirectiveRenews(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	mustSet(t, l, r, 0, 300*mib, 30*time.Second)
	mustSet(t, l, r, 20*time.Second, 250*mib, 30*time.Second)
	wantLimit(t, r, 250*mib)
	if why := l.Tick(49*time.Second, r.read()); why != "" {
		t.Errorf("ended before the renewed time: %s", why)
	}
	l.Tick(50*time.Second, r.read())
	wantLimit(t, r, NoLimit)
}

func TestLimitIsRaisedToTheFloorAndFollowsIt(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	mustSet(t, l, r, 0, 50*mib, time.Minute)
	wantLimit(t, r, floor)

	r.sample.Live = 150 * mib // between collections nothing is judged
	l.Tick(1*time.Second, r.read())
	wantLimit(t, r, floor)

	r.collected(150 * mib)
	r.sample.Total += 50 * mib
	l.Tick(2*time.Second, r.read())
	if s := r.read(); r.limit != int64(s.Floor()) {
		t.Errorf("the limit is %d, want the new floor %d", r.limit, s.Floor())
	}

	r.collected(10 * mib)
	r.sample.Total = r.sample.Objects + r.sample.Free + r.sample.Unused + 10*mib
	l.Tick(3*time.Second, r.read())
	wantLimit(t, r, 50*mib) // never below what was asked
}

func TestEngagedLimiterLiftsAtOnceAndBarsTheRestOfTheTime(t *testing.T) {
	r := newRuntime()
	r.sample.LimiterCycle = 3 // long ago: not of our doing
	l := NewSoftLimit(r.set, Environment{})
	mustSet(t, l, r, 0, 300*mib, time.Minute)

	r.collected(290 * mib)
	r.sample.LimiterCycle = r.sample.Cycles
	if why := l.Tick(time.Second, r.read()); !strings.Contains(why, "limiter") {
		t.Errorf("ended because %q, want the limiter", why)
	}
	wantLimit(t, r, NoLimit)

	r.collected(100 * mib)
	r.collected(100 * mib)
	if err := l.Set(59*time.Second, 300*mib, time.Minute, r.read()); err == nil {
		t.Error("a limit was set before the lifted one would have ended")
	}
	mustSet(t, l, r, 60*time.Second, 300*mib, time.Minute)
}

func TestLimiterEngagedJustNowDeclines(t *testing.T) {
	r := newRuntime()
	r.sample.LimiterCycle = r.sample.Cycles
	l := NewSoftLimit(r.set, Environment{})
	if err := l.Set(0, 300*mib, time.Minute, r.read()); err == nil || !strings.Contains(err.Error(), "limiter") {
		t.Errorf("got %v, want an objection because of the limiter", err)
	}
	wantLimit(t, r, NoLimit)
}

func TestUsersOwnSettingsWin(t *testing.T) {
	for name, c := range map[string]struct {
		environment Environment
		prepare     func(*goRuntime)
		want        string
	}{
		"GOMEMLIMIT":     {environment: Environment{GOMEMLIMIT: "1GiB"}, want: "GOMEMLIMIT"},
		"GOMEMLIMIT off": {environment: Environment{GOMEMLIMIT: "off"}, want: "GOMEMLIMIT"},
		"SetMemoryLimit": {prepare: func(r *goRuntime) { r.limit = 500 * mib }, want: "the program set its own limit"},
		"GOGC off":       {prepare: func(r *goRuntime) { r.sample.GCPercent = math.MaxUint64 }, want: "GOGC"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime()
			if c.prepare != nil {
				c.prepare(r)
			}
			was := r.limit
			l := NewSoftLimit(r.set, c.environment)
			if err := l.Set(0, 300*mib, time.Minute, r.read()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an objection that says %q", err, c.want)
			}
			l.Undo()
			wantLimit(t, r, was)
		})
	}
}

func TestLimitOfTheProgramSetLaterStays(t *testing.T) {
	for name, end := range map[string]func(*SoftLimit, *goRuntime){
		"tick":     func(l *SoftLimit, r *goRuntime) { l.Tick(time.Hour, r.read()) },
		"undo":     func(l *SoftLimit, _ *goRuntime) { l.Undo() },
		"renewing": func(l *SoftLimit, r *goRuntime) { _ = l.Set(time.Second, 200*mib, time.Minute, r.read()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime()
			l := NewSoftLimit(r.set, Environment{})
			mustSet(t, l, r, 0, 300*mib, time.Minute)
			r.limit = 777 * mib
			end(l, r)
			wantLimit(t, r, 777*mib)
		})
	}
}

func TestLimitOfTheProgramSetBetweenReadingAndSettingStays(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	before := r.read()
	r.limit = 777 * mib
	if err := l.Set(0, 300*mib, time.Minute, before); err == nil {
		t.Error("no objection")
	}
	wantLimit(t, r, 777*mib)
}

func TestSenselessLimitsAreRefused(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	if err := l.Set(0, math.MaxUint64, time.Minute, r.read()); err == nil {
		t.Error("a limit above all memory was taken")
	}
	if err := l.Set(0, 300*mib, 0, r.read()); err == nil {
		t.Error("a TTL of 0 was taken")
	}
	wantLimit(t, r, NoLimit)
}

// defer debug.SetMemoryLimit(debug.SetMemoryLimit(x)): the program puts back what it found, and that was ours.
func TestLimitOfOursThatTheProgramPutsBackEnds(t *testing.T) {
	for name, end := range map[string]func(*SoftLimit, *goRuntime){
		"tick": func(l *SoftLimit, r *goRuntime) { l.Tick(2*time.Second, r.read()) },
		"undo": func(l *SoftLimit, _ *goRuntime) { l.Undo() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime()
			l := NewSoftLimit(r.set, Environment{})
			mustSet(t, l, r, 0, 300*mib, time.Minute)
			old := r.set(777 * mib)
			if why := l.Tick(time.Second, r.read()); !strings.Contains(why, "own limit") {
				t.Errorf("ended because %q", why)
			}
			if !l.Watching() {
				t.Error("nobody looks after it")
			}
			wantLimit(t, r, 777*mib)
			r.set(old)
			end(l, r)
			wantLimit(t, r, NoLimit)
			if l.Watching() {
				t.Error("still looked after")
			}
		})
	}
}

func TestGOGCTurnedOffLaterEndsTheLimit(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	mustSet(t, l, r, 0, 300*mib, time.Minute)
	r.sample.GCPercent = math.MaxUint64
	if why := l.Tick(time.Second, r.read()); !strings.Contains(why, "GOGC") {
		t.Errorf("ended because %q", why)
	}
	wantLimit(t, r, NoLimit)
}

// As the governor does after a collection: lowered once, then raised in steps, each renewing the time.
func TestLimitThatIsRaisedInSteps(t *testing.T) {
	r := newRuntime()
	l := NewSoftLimit(r.set, Environment{})
	for i, asked := range []uint64{100 * mib, 160 * mib, 200 * mib, 240 * mib} {
		mustSet(t, l, r, time.Duration(i)*20*time.Second, asked, 30*time.Second)
		wantLimit(t, r, max(int64(asked), floor))
	}
	if why := l.Tick(89*time.Second, r.read()); why != "" {
		t.Errorf("ended before the last time was over: %s", why)
	}
	l.Tick(90*time.Second, r.read())
	wantLimit(t, r, NoLimit)
}
