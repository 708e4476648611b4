package memgov

// Directives that come too late, and soft limits: how they end and who wins.

import (
	"math"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

// needsNoLimit skips a test of limits where somebody set one for the test itself.
func needsNoLimit(t *testing.T) {
	t.Helper()
	if heap.Startup.GOMEMLIMIT != "" {
		t.Skip("GOMEMLIMIT is set")
	}
}

func TestDirectivePastItsDeadlineIsDeclined(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	a := attach(t, g.Socket, clock, func(a *agent) {
		collecting(a)
		// The first directive takes until the second has waited for its whole deadline.
		first := true
		a.collect = func() (heap.Work, error) {
			if first {
				first = false
				eventually(t, "the second and third directive are here", func() bool { return len(a.session.in) == 2 })
				clock.Advance(time.Second)
			}
			return heap.Work{Before: 2, After: 1}, nil
		}
	})
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(collect(1, time.Second))
	p.Direct(collect(2, time.Second))
	p.Direct(collect(3, time.Second+time.Millisecond))
	if o := p.Outcome(); o.GetId() != 1 || o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Errorf("first: %v", o)
	}
	if o := p.Outcome(); o.GetId() != 2 || o.GetStatus() != pb.Outcome_STATUS_DECLINED ||
		!strings.Contains(o.GetWhy(), "deadline of 1s") {
		t.Errorf("second: %v", o)
	}
	// In time, but it did not wait for the answer to the first.
	if o := p.Outcome(); o.GetId() != 3 || o.GetStatus() != pb.Outcome_STATUS_DECLINED ||
		!strings.Contains(o.GetWhy(), "one at a time") {
		t.Errorf("third: %v", o)
	}
	p.Direct(collect(4, time.Second))
	if o := p.Outcome(); o.GetId() != 4 || o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Errorf("fourth: %v", o)
	}
	waitFor[Done](a)
}

func TestSoftLimitEndsWithItsTTLEvenWithoutAGovernor(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	a := attach(t, g.Socket, clock, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1<<30, 30*time.Second))
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Fatal(o)
	}
	p.Report(func(r *pb.Report) bool { return r.GetSoftLimitBytes() == 1<<30 })
	if got := debug.SetMemoryLimit(-1); got != 1<<30 {
		t.Errorf("the limit is %d", got)
	}
	g.Stop()
	waitFor[Lost](a)
	clock.Advance(29 * time.Second)
	if got := debug.SetMemoryLimit(-1); got != 1<<30 {
		t.Errorf("29 s: the limit is %d", got)
	}
	clock.Advance(time.Second)
	waitFor[SoftLimitEnded](a)
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("30 s: the limit is %d", got)
	}
}

func TestSoftLimitBelowTheFloorIsRaised(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	attach(t, g.Socket, newHandClock(), nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1, 30*time.Second))
	o := p.Outcome()
	if o.GetStatus() != pb.Outcome_STATUS_DONE || !strings.Contains(o.GetWhy(), "floor") {
		t.Error(o)
	}
	r := p.Report(func(r *pb.Report) bool { return r.SoftLimitBytes != nil })
	if limit := r.GetSoftLimitBytes(); limit < r.GetNonHeapBytes() || limit > 1<<30 {
		t.Errorf("a limit of %d for %v", limit, r)
	}
}

func TestLimitOfTheProgramWins(t *testing.T) {
	needsNoLimit(t)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(3 << 30))
	g := testgovernor.Start(t, testgovernor.Socket(t))
	attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1<<30, 30*time.Second))
	o := p.Outcome()
	if o.GetStatus() != pb.Outcome_STATUS_DECLINED || !strings.Contains(o.GetWhy(), "the program set its own limit") {
		t.Error(o)
	}
	if got := debug.SetMemoryLimit(-1); got != 3<<30 {
		t.Errorf("the limit is %d", got)
	}
}

var garbage []byte
