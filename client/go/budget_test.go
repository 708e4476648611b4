package memgov

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

func TestACollectionThatWouldBringNothingIsDeclined(t *testing.T) {
	justCollected := heap.Sample{Objects: 100 * mib, Live: 100 * mib, Free: mib / 2}
	second := freshness{youngest: 100 * time.Millisecond, oldest: justNow - 1}
	for name, c := range map[string]struct {
		sample heap.Sample
		urgent urgency
		age    freshness
		runs   bool
	}{
		"collected just now, nothing left":       {justCollected, false, second, false},
		"the same near a kill":                   {justCollected, true, second, false},
		"a second ago, near a kill":              {justCollected, true, freshness{0, justNow}, true},
		"some seconds ago":                       {justCollected, false, freshness{2 * time.Second, 3 * time.Second}, false},
		"long ago":                               {justCollected, false, freshness{3 * time.Second, 4 * time.Second}, true},
		"free spans are left":                    {heap.Sample{Objects: 100 * mib, Live: 100 * mib, Free: mib}, true, second, true},
		"much was allocated since":               {heap.Sample{Objects: 110 * mib, Live: 100 * mib}, true, second, true},
		"nobody has collected since the start":   {heap.Sample{Objects: 3 * mib}, false, second, true},
		"a little was allocated since, no spans": {heap.Sample{Objects: 103 * mib, Live: 100 * mib}, true, second, false},
	} {
		t.Run(name, func(t *testing.T) {
			if why := worth(c.urgent, c.sample, c.age); (why == "") != c.runs {
				t.Errorf("it says %q", why)
			}
		})
	}
}

func TestTheBudgetIsAShareOfTheProcessorsAndALeastPause(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	p := newPacer(Budget{CPU: 0.1, Least: time.Second, Jitter: 0.5})
	p.random = func() float64 { return 0 }
	if why := p.affordable(0, false); why != "" {
		t.Errorf("the first one: %s", why)
	}
	p.note(time.Minute, time.Second) // a second of 2 processors' tenth: one in 5 s
	if why := p.affordable(time.Minute+4*time.Second-1, false); !strings.Contains(why, "took 1s of CPU") {
		t.Errorf("it says %q", why)
	}
	if why := p.affordable(time.Minute+4*time.Second-1, true); why != "" {
		t.Errorf("near a kill: %s", why)
	}
	if why := p.affordable(time.Minute+4*time.Second, false); why != "" {
		t.Errorf("after its time: %s", why)
	}
	p.note(0, time.Millisecond)
	if why := p.affordable(time.Second-1, false); why == "" {
		t.Error("a cheap one before the least pause")
	}
	p.random = func() float64 { return 1 }
	p.note(0, time.Second)
	if why := p.affordable(6*time.Second-1, false); why == "" {
		t.Error("no jitter")
	}
	if why := p.affordable(6*time.Second, false); why != "" {
		t.Error(why)
	}
}

func TestBudgetsThatAreNone(t *testing.T) {
	for _, b := range []Budget{{CPU: -1}, {CPU: 1.1}, {CPU: math.NaN()}, {Least: -1}, {Jitter: 2}} {
		if _, err := Start(context.Background(), WithBudget(b)); err == nil {
			t.Errorf("%+v was taken", b)
		}
	}
	o, err := newOptions([]Option{WithBudget(Budget{Least: time.Second})})
	if err != nil || o.budget != (Budget{CPU: defaultCPUShare, Least: time.Second, Jitter: defaultJitter}) {
		t.Errorf("%+v, %v", o.budget, err)
	}
}

func urgently(d *pb.Directive) *pb.Directive {
	d.Level = pb.Level_LEVEL_CRITICAL
	return d
}

func TestCollectionsAreWithinTheBudgetUnlessAKillIsNear(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	collections := 0
	attach(t, g.Socket, newHandClock(), func(a *agent) {
		budget := a.pacer.budget
		collecting(a)
		a.pacer.budget = budget
		a.collect = func() (heap.Work, error) {
			collections++
			return heap.Work{Before: 2, After: 1, CPU: time.Second}, nil
		}
	})
	p := g.Accept()
	p.Welcome(time.Minute)
	for id, c := range []struct {
		directive *pb.Directive
		want      pb.Outcome_Status
	}{
		{collect(1, time.Second), pb.Outcome_STATUS_DONE},
		{collect(2, time.Second), pb.Outcome_STATUS_DECLINED},
		{urgently(collect(3, time.Second)), pb.Outcome_STATUS_DONE},
		{collect(4, time.Second), pb.Outcome_STATUS_DECLINED},
		{&pb.Directive{Id: 5, Reason: &pb.Reason{Signal: "time_to_limit"}, Action: &pb.Directive_Collect{}}, pb.Outcome_STATUS_DONE},
		{&pb.Directive{Id: 6, Reason: &pb.Reason{Signal: "usage"}, Action: &pb.Directive_Collect{}}, pb.Outcome_STATUS_DECLINED},
	} {
		p.Direct(c.directive)
		if o := p.Outcome(); o.GetStatus() != c.want {
			t.Errorf("directive %d: %v", id+1, o)
		}
	}
	if collections != 3 {
		t.Errorf("%d collections", collections)
	}
}

func TestWhatAShedFreedStaysWhereTheBudgetIsSpent(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	onPressure(t, "a", func(_ context.Context, p Pressure) int64 { return p.Bytes })
	collections := 0
	attach(t, g.Socket, newHandClock(), func(a *agent) {
		a.pacer.note(a.clock.Now(), time.Second)
		a.collect = func() (heap.Work, error) { collections++; return heap.Work{}, nil }
	})
	p := g.Accept()
	p.Welcome(time.Minute)
	d := shedding(1, 2*mib, time.Second)
	d.Level = pb.Level_LEVEL_WAKE
	p.Direct(d)
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE || collections != 0 ||
		!strings.HasPrefix(o.GetWhy(), "gave 2048 KiB of 2048 KiB: a 2048 KiB; not released: over the budget") {
		t.Error(o)
	}
	p.Direct(shedding(2, leastWorth-1, time.Second)) // too little for a collection
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE || collections != 0 {
		t.Error(o)
	}
	p.Direct(shedding(3, leastWorth, time.Second))
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE || collections != 1 {
		t.Error(o)
	}
}

var dropped [][]byte

// drop leaves 128 MiB of free spans.
func drop() {
	for range 128 {
		block := make([]byte, mib)
		for page := 0; page < len(block); page += 4096 {
			block[page] = 1
		}
		dropped = append(dropped, block)
	}
	dropped = nil
	runtime.GC()
	runtime.GC() // ends the sweep of the first
}

func TestFreeSpansAreReturnedWithoutACollectionWhereOneHasJustTold(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	collections := 0
	attach(t, g.Socket, machineClock{}, func(a *agent) {
		a.collect = func() (heap.Work, error) { collections++; return heap.Collect() }
	})
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Report(anyReport)
	drop()
	p.Direct(urgently(collect(1, testgovernor.Patience)))
	o := p.Outcome()
	if o.GetStatus() != pb.Outcome_STATUS_DONE || !strings.HasSuffix(o.GetWhy(), "of free spans, without a collection") ||
		o.GetBeforeBytes() < o.GetAfterBytes()+96*mib || collections != 0 {
		t.Errorf("%v, %d collections", o, collections)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("a limit of %d stays", got)
	}
}

func TestADeadlineOf0MeansNone(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	attach(t, g.Socket, machineClock{}, generous)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(&pb.Directive{Id: 1, Action: &pb.Directive_Collect{}})
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Error(o)
	}
}

func TestInObserveModeNoDirectiveMayCome(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	p.Say(&pb.GovernorMessage{Body: &pb.GovernorMessage_Welcome{Welcome: &pb.Welcome{Cgroup: "/test"}}})
	p.Direct(collect(1, testgovernor.Patience))
	o := p.Outcome()
	wantText(t, o.GetWhy(), "the Welcome said observe mode, in which no directive may come")
	if o.GetBeforeBytes() == 0 || o.GetBeforeBytes() != o.GetAfterBytes() {
		t.Error(o)
	}
}
