package memgov

import (
	"errors"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

const mib = 1 << 20

// attachment is an agent under test and what it did.
type attachment struct {
	*agent
	t      *testing.T
	events chan Event
}

// attach starts an agent. prepare may change it before it runs.
func attach(t *testing.T, socket string, c clock, prepare func(*agent)) *attachment {
	t.Helper()
	events := make(chan Event, 1024)
	o, err := newOptions([]Option{
		WithSocket(socket), WithName("tested"), WithObserver(func(e Event) { events <- e }),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(o, c)
	if prepare != nil {
		prepare(a)
	}
	a.start()
	t.Cleanup(func() {
		if err := a.stop(); err != nil {
			t.Error(err)
		}
	})
	return &attachment{agent: a, t: t, events: events}
}

// waitFor returns the next event of type T; others before it are passed over.
func waitFor[T Event](a *attachment) T {
	a.t.Helper()
	deadline := time.After(testgovernor.Patience)
	for {
		select {
		case e := <-a.events:
			if wanted, ok := e.(T); ok {
				return wanted
			}
		case <-deadline:
			var none T
			a.t.Fatalf("no event %T", none)
		}
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(testgovernor.Patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func collect(id uint64, deadline time.Duration) *pb.Directive {
	return &pb.Directive{Id: id, DeadlineMs: uint32(deadline.Milliseconds()), TtlMs: 30000, Level: pb.Level_LEVEL_WAKE,
		Reason: &pb.Reason{Rule: "default", Text: "usage 86 %"},
		Action: &pb.Directive_Collect{Collect: &pb.Collect{Bytes: 7 * mib}}}
}

func softLimit(id, bytes uint64, ttl time.Duration) *pb.Directive {
	return &pb.Directive{Id: id, DeadlineMs: 2000, TtlMs: uint32(ttl.Milliseconds()),
		Action: &pb.Directive_SetSoftLimit{SetSoftLimit: &pb.SetSoftLimit{Bytes: bytes}}}
}

func anyReport(*pb.Report) bool { return true }

// collecting lets each collection come that a test asks for, even where free spans are enough.
func collecting(a *agent) {
	generous(a)
	a.limit = heap.NewSoftLimit(debug.SetMemoryLimit, heap.Environment{GOMEMLIMIT: "off"})
}

// generous lets each collection come that a test asks for.
func generous(a *agent) {
	a.worth = func(urgency, heap.Sample, freshness) string { return "" }
	a.pacer.budget = Budget{CPU: 1}
}

func TestRoundTrip(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	a := attach(t, g.Socket, machineClock{}, collecting)
	p := g.Accept()
	h := p.Hello
	if h.GetName() != "tested" || h.GetRuntime() != runtime.Version() || h.GetClient() != "memgov-go "+Version {
		t.Errorf("hello %v", h)
	}
	can := h.GetCapabilities()
	if !can.GetCollect() || !can.GetSetSoftLimit() || can.GetRelease() || can.GetSetReleaseMode() || can.GetShed() {
		t.Errorf("capabilities %v", can)
	}
	if os.Getenv("GODEBUG") == "" && h.GetStartupReleaseMode() != pb.ReleaseMode_RELEASE_MODE_EAGER {
		t.Errorf("release mode %v", h.GetStartupReleaseMode())
	}

	p.Welcome(time.Minute)
	if w := waitFor[Welcomed](a); w.Cgroup != "/test" || !w.Enforcing || w.ReportEvery != time.Minute {
		t.Errorf("%+v", w)
	}
	if r := p.Report(anyReport); r.GetLiveBytes() == 0 || r.GetNonHeapBytes() == 0 || r.GcCpuFraction == nil {
		t.Errorf("first report %v", r)
	}

	sent := monotonic()
	p.Direct(collect(42, 10*time.Second))
	o := p.Outcome()
	if o.GetId() != 42 || o.GetStatus() != pb.Outcome_STATUS_DONE || o.GetWhy() != "" || o.GetWallUs() == 0 ||
		o.GetCpuUs() == 0 || o.GetBeforeBytes() < mib || o.GetAfterBytes() < mib {
		t.Errorf("outcome %v", o)
	}
	p.Report(anyReport) // does not wait for the minute

	r := waitFor[Received](a)
	if r.ID != 42 || r.Action != "collect" || r.Bytes != 7*mib || r.Level != "wake" || r.Rule != "default" ||
		r.Reason != "usage 86 %" || r.Deadline != 10*time.Second || r.TTL != 30*time.Second {
		t.Errorf("%+v", r)
	}
	d := waitFor[Done](a)
	if d.ID != 42 || d.Status != "done" || d.Wall == 0 {
		t.Errorf("%+v", d)
	}
	if r.At < sent || d.At < r.At || d.At > monotonic() {
		t.Errorf("sent %v, received %v, done %v", sent, r.At, d.At)
	}
}

func TestAttachesAgainWhenTheGovernorEndsTheStream(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	a := attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	waitFor[Welcomed](a)
	p.End(status.Error(codes.PermissionDenied, "not governed"))
	if l := waitFor[Lost](a); !strings.Contains(l.Err.Error(), "not governed") {
		t.Errorf("%+v", l)
	}
	g.Accept().Welcome(time.Minute)
	waitFor[Welcomed](a)
}

func TestAttachesToAGovernorThatComesLaterAndToTheNextOne(t *testing.T) {
	socket := testgovernor.Socket(t)
	a := attach(t, socket, machineClock{}, nil)
	if l := waitFor[Lost](a); !errors.Is(l.Err, os.ErrNotExist) {
		t.Errorf("%+v", l)
	}
	for range 2 {
		g := testgovernor.Start(t, socket)
		g.Accept().Welcome(time.Minute)
		waitFor[Welcomed](a)
		g.Stop()
		waitFor[Lost](a)
	}
}

func TestBackoffDoublesToASecondWithJitter(t *testing.T) {
	var b backoff
	for _, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		want *= time.Millisecond
		if got := b.next(longestBackoff); got < want/2 || got >= want {
			t.Errorf("waits %v, want from %v to %v", got, want/2, want)
		}
	}
}

func TestAbsenceIsSaidOnce(t *testing.T) {
	tried := make(chan struct{}, 1024)
	clock := newHandClock()
	a := attach(t, rawGovernor(t, func(conn net.Conn) {
		tried <- struct{}{}
		conn.Close()
	}), clock, nil)
	waitFor[Lost](a)
	<-tried
	for range 5 {
		eventually(t, "another try", func() bool {
			clock.Advance(longestBackoff)
			return len(tried) > 0
		})
		<-tried
	}
	for len(a.events) > 0 {
		t.Errorf("said again: %+v", <-a.events)
	}
}

func TestReportsComeAsOftenAsAskedAndPromptlyWhenMuchIsFree(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	attach(t, g.Socket, clock, nil)
	p := g.Accept()
	p.Welcome(10 * time.Second)
	debug.FreeOSMemory()
	first := p.Report(anyReport)
	clock.Advance(10 * time.Second)
	p.Report(anyReport)

	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection that ends later would find it alive
	garbage = make([]byte, 64*mib)
	garbage = nil
	clock.Advance(5 * time.Second) // less than 10 s
	r := p.Report(func(r *pb.Report) bool { return r.GetRetainedBytes() > first.GetRetainedBytes() })
	if r.GetRetainedBytes() < 32*mib {
		t.Errorf("%d bytes retained, want most of 64 MiB", r.GetRetainedBytes())
	}
}

func TestDefectLeavesNothingBehind(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	o, err := newOptions([]Option{WithSocket(g.Socket)})
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(o, machineClock{})
	generous(a)
	a.collect = func() (heap.Work, error) { panic("broken") }
	a.start()
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1<<30, time.Hour))
	p.Outcome()
	d := urgently(collect(2, testgovernor.Patience))
	d.GetCollect().Bytes = 1 << 40 // more than free spans can give
	p.Direct(d)
	p.Gone()
	if err := a.stop(); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("stop says %v", err)
	}
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("the limit is %d", got)
	}
}

func TestQuietHeapIsLookedAtSeldom(t *testing.T) {
	a := &agent{reportEvery: time.Second, seenRetained: 50 * mib, watch: watchEvery}
	for i, c := range []struct {
		retained uint64
		want     time.Duration
	}{
		{50 * mib, 2 * watchEvery}, {50*mib + stirBytes, 4 * watchEvery}, {50 * mib, time.Second}, {50 * mib, time.Second},
		{52 * mib, watchEvery}, {50 * mib, watchEvery}, {50 * mib, 2 * watchEvery},
	} {
		if got := a.watchAfter(c.retained); got != c.want {
			t.Errorf("step %d: again after %v, want %v", i, got, c.want)
		}
	}
}
