package memgov

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hookTable is a table without an agent: the test's goroutines are its goroutines.
type hookTable struct {
	*hooks
	t     *testing.T
	clock *handClock
	calls []string
}

func newHookTable(t *testing.T) *hookTable {
	return &hookTable{hooks: newHooks(), t: t, clock: newHandClock()}
}

func (h *hookTable) hook(name string, priority int, give func(context.Context, Pressure) int64) (remove func()) {
	return h.add(give, []HookOption{Named(name), Priority(priority)})
}

// gives notes what it was asked for.
func (h *hookTable) gives(bytes int64, name string) func(context.Context, Pressure) int64 {
	return func(_ context.Context, p Pressure) int64 {
		h.calls = append(h.calls, fmt.Sprint(name, " ", p.Bytes/mib))
		return bytes
	}
}

func (h *hookTable) orderOf(bytes uint64) order {
	return order{level: LevelWake, bytes: bytes, clock: h.clock, await: func(returned <-chan struct{}) { <-returned },
		broke: func(string, any) {}}
}

func (h *hookTable) ask(bytes uint64) shed { return h.shed(context.Background(), h.orderOf(bytes)) }

func (h *hookTable) wantCalls(want ...string) {
	h.t.Helper()
	if strings.Join(h.calls, ", ") != strings.Join(want, ", ") {
		h.t.Errorf("calls %q, want %q", h.calls, want)
	}
}

func wantText(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestWithoutHooksNothingHappens(t *testing.T) {
	h := newHookTable(t)
	if s := h.ask(mib); h.any() || s != (shed{}) {
		t.Errorf("%+v", s)
	}
}

func TestLowerPrioritiesAreAskedFirstAndEqualOnesByAge(t *testing.T) {
	h := newHookTable(t)
	h.hook("dear", 10, h.gives(0, "dear"))
	h.hook("cheap", -5, h.gives(0, "cheap"))
	h.hook("first", 0, h.gives(0, "first"))
	h.hook("second", 0, h.gives(0, "second"))
	h.hook("cheapest", math.MinInt, h.gives(0, "cheapest"))
	if s := h.ask(mib); s.called != 5 {
		t.Errorf("%+v", s)
	}
	h.wantCalls("cheapest 1", "cheap 1", "first 1", "second 1", "dear 1")
}

func TestEachIsAskedForTheRestAndNobodyWhenItIsEnough(t *testing.T) {
	h := newHookTable(t)
	h.hook("a", 1, h.gives(30*mib, "a"))
	h.hook("b", 2, h.gives(40*mib, "b"))
	h.hook("c", 3, h.gives(mib, "c"))
	s := h.ask(64 * mib)
	h.wantCalls("a 64", "b 34")
	if s.given != 70*mib || s.left != 0 {
		t.Errorf("%+v", s)
	}
	wantText(t, s.text, "gave 70 MiB of 64 MiB: a 30 MiB, b 40 MiB")
}

func TestAHookHearsTheLevelTheBytesAndTheTime(t *testing.T) {
	h := newHookTable(t)
	var heard Pressure
	var until time.Time
	h.hook("", 0, func(ctx context.Context, p Pressure) int64 {
		heard = p
		until, _ = ctx.Deadline()
		return 0
	})
	o := h.orderOf(math.MaxUint64)
	o.level, o.until = LevelCritical, h.clock.Now()+time.Hour
	h.shed(context.Background(), o)
	if heard != (Pressure{Level: LevelCritical, Bytes: math.MaxInt64}) {
		t.Errorf("%+v", heard)
	}
	if left := time.Until(until); left < 55*time.Minute || left > time.Hour {
		t.Errorf("%v left", left)
	}
}

func TestAFailureGivesNothingAndIsTold(t *testing.T) {
	h := newHookTable(t)
	h.hook("broken", 1, h.gives(-1, "broken"))
	h.hook("panics", 2, func(context.Context, Pressure) int64 { panic("out of order") })
	h.hook("ends", 3, func(context.Context, Pressure) int64 { runtime.Goexit(); return mib })
	h.hook("empty", 4, h.gives(0, "empty"))
	h.hook("whole", 5, h.gives(12*mib, "whole"))
	var broke string
	o := h.orderOf(64 * mib)
	o.broke = func(name string, panicked any) { broke += fmt.Sprint(name, ": ", panicked) }
	s := h.shed(context.Background(), o)
	if s.given != 12*mib || s.called != 5 {
		t.Errorf("%+v", s)
	}
	wantText(t, s.text, "gave 12 MiB of 64 MiB: broken failed, panics failed, ends failed, empty nothing, whole 12 MiB")
	wantText(t, broke, "panics: out of order")
}

func TestAHookThatTakesLongDelaysOnlyThoseAfterItAndTheyAreTold(t *testing.T) {
	h := newHookTable(t)
	h.hook("slow", 1, func(context.Context, Pressure) int64 {
		h.clock.Advance(200 * time.Millisecond)
		return 2 * mib
	})
	h.hook("second", 2, h.gives(mib, "second"))
	h.hook("third", 3, h.gives(mib, "third"))
	o := h.orderOf(64 * mib)
	o.until = h.clock.Now() + 200*time.Millisecond
	s := h.shed(context.Background(), o)
	h.wantCalls()
	if s.called != 1 || s.left != 2 || s.given != 2*mib {
		t.Errorf("%+v", s)
	}
	wantText(t, s.text, "gave 2048 KiB of 64 MiB: slow 2048 KiB in 200 ms; the time was up, 2 not asked")
}

func TestWhenTheAgentStopsNoFurtherHookIsCalled(t *testing.T) {
	h := newHookTable(t)
	ctx, cancel := context.WithCancel(context.Background())
	h.hook("a", 1, func(own context.Context, _ Pressure) int64 {
		cancel()
		<-own.Done()
		return 0
	})
	h.hook("b", 2, h.gives(mib, "b"))
	s := h.shed(ctx, h.orderOf(mib))
	h.wantCalls()
	wantText(t, s.text, "gave 0 KiB of 1024 KiB: a nothing; memgov stops, 1 not asked")
}

func TestALongListIsCutButSaysWhoWasNotAsked(t *testing.T) {
	h := newHookTable(t)
	ctx, cancel := context.WithCancel(context.Background())
	for i := range 300 {
		h.hook("a name of more than thirty-one bytes", i, h.gives(mib, ""))
	}
	h.hook("last", 300, func(context.Context, Pressure) int64 { cancel(); return 0 })
	h.hook("never", 301, h.gives(0, ""))
	s := h.shed(ctx, h.orderOf(math.MaxUint64))
	if s.called != 301 || len(s.text) > maxWhy {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(s.text, "a name of more than thirty-one  1024 KiB, ...; memgov stops, 1 not asked") {
		t.Errorf("it says %q", s.text)
	}
}

func TestAHookMayUnregisterItselfAndOthers(t *testing.T) {
	h := newHookTable(t)
	var self, other func()
	calls := 0
	self = h.hook("self", 0, func(context.Context, Pressure) int64 {
		calls++
		self()
		self()
		other()
		return 0
	})
	other = h.hook("other", 1, h.gives(0, "other"))
	if s := h.ask(mib); s.called != 1 {
		t.Errorf("%+v", s)
	}
	if s := h.ask(mib); s.called != 0 || calls != 1 || h.any() {
		t.Errorf("%+v, %d calls", s, calls)
	}
	h.wantCalls()
}

func TestAHookThatIsRegisteredByAHookIsNotCalledInTheSameShed(t *testing.T) {
	h := newHookTable(t)
	h.hook("mother", 0, func(context.Context, Pressure) int64 {
		h.hook("child", 1, h.gives(0, "child"))
		return 0
	})
	for want := 1; want <= 3; want++ {
		if s := h.ask(mib); s.called != want {
			t.Errorf("%d were called, want %d", s.called, want)
		}
	}
}

// held starts a hook that waits in the middle of its call.
func held(h *hookTable) (remove, letGo func(), returned *atomic.Bool) {
	inside, mayReturn, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	returned = &atomic.Bool{}
	remove = h.hook("held", 0, func(context.Context, Pressure) int64 {
		close(inside)
		<-mayReturn
		returned.Store(true)
		return 0
	})
	go func() {
		defer close(over)
		h.ask(mib)
	}()
	<-inside
	return remove, sync.OnceFunc(func() { close(mayReturn); <-over }), returned
}

func TestUnregisteringWaitsForACallThatIsRunning(t *testing.T) {
	h := newHookTable(t)
	remove, letGo, returned := held(h)
	var waiting sync.WaitGroup
	var off atomic.Bool
	// Whoever unregisters it a second time finds nothing, but may not be sure before the call is over either.
	for range 2 {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			remove()
			off.Store(true)
			if !returned.Load() {
				t.Error("unregistered while it ran")
			}
		}()
	}
	eventually(t, "it is out of the table", func() bool { return !h.any() })
	time.Sleep(20 * time.Millisecond)
	if off.Load() {
		t.Error("did not wait")
	}
	letGo()
	waiting.Wait()
}

func TestWhileOneRunsOthersComeAndGo(t *testing.T) {
	h := newHookTable(t)
	_, letGo, returned := held(h)
	defer letGo()
	h.hook("other", 1, h.gives(0, "other"))()
	if returned.Load() {
		t.Error("waited")
	}
}

func TestTheTableIsSafeForManyGoroutines(t *testing.T) {
	h := newHookTable(t)
	var working sync.WaitGroup
	for range 4 {
		working.Add(1)
		go func() {
			defer working.Done()
			for range 200 {
				var gone atomic.Bool
				remove := h.hook("short", 0, func(context.Context, Pressure) int64 {
					if gone.Load() {
						t.Error("called after it was unregistered")
					}
					return 1
				})
				remove()
				gone.Store(true)
			}
		}()
	}
	over := make(chan struct{})
	go func() { working.Wait(); close(over) }()
	for {
		h.ask(mib)
		select {
		case <-over:
			if h.any() {
				t.Error("some stayed")
			}
			return
		default:
		}
	}
}

func TestTheFirstHookAndTheLastAreAChange(t *testing.T) {
	h := newHookTable(t)
	changed := func() bool {
		select {
		case <-h.changed:
			return true
		default:
			return false
		}
	}
	first := h.hook("first", 0, h.gives(0, ""))
	if !changed() {
		t.Error("the first was not told")
	}
	second := h.hook("second", 0, h.gives(0, ""))
	first()
	if changed() {
		t.Error("the second was told")
	}
	second()
	if !changed() {
		t.Error("the last was not told")
	}
}

func TestGoroutinesAreKnown(t *testing.T) {
	here, there := thisGoroutine(), make(chan goroutineID)
	go func() { there <- thisGoroutine() }()
	if other := <-there; here == 0 || other == 0 || here == other || here != thisGoroutine() {
		t.Errorf("%d and %d", here, other)
	}
}
