package memgov

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

func shedding(id, bytes uint64, deadline time.Duration) *pb.Directive {
	return &pb.Directive{Id: id, DeadlineMs: uint32(deadline.Milliseconds()), Level: pb.Level_LEVEL_CRITICAL,
		Action: &pb.Directive_Shed{Shed: &pb.Shed{Level: pb.Level_LEVEL_CRITICAL, Bytes: bytes}}}
}

// onPressure registers a hook until the test ends.
func onPressure(t *testing.T, name string, give func(context.Context, Pressure) int64) (unregister func()) {
	unregister = OnPressure(give, Named(name))
	t.Cleanup(unregister)
	return unregister
}

func givesNothing(context.Context, Pressure) int64 { return 0 }

func TestAShedIsGivenByTheHooksAndTheOutcomeSaysByWhich(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	cache := make([]byte, 64*mib)
	for page := 0; page < len(cache); page += 4096 {
		cache[page] = 1
	}
	runtime.GC()
	runtime.KeepAlive(cache)
	var heard Pressure
	onPressure(t, "blocks", func(ctx context.Context, p Pressure) int64 {
		heard = p
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		given := int64(len(cache))
		cache = nil
		return given
	})
	onPressure(t, "thumbnails", func(context.Context, Pressure) int64 { panic("broken") })
	a := attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	if !p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
	p.Welcome(time.Minute)
	p.Direct(shedding(1, 100*mib, testgovernor.Patience))
	o := p.Outcome()
	if o.GetStatus() != pb.Outcome_STATUS_DONE || !strings.HasPrefix(o.GetWhy(), "gave 64 MiB of 100 MiB: blocks 64 MiB") ||
		!strings.Contains(o.GetWhy(), ", thumbnails failed") {
		t.Error(o)
	}
	if heard != (Pressure{Level: LevelCritical, Bytes: 100 * mib}) {
		t.Errorf("%+v", heard)
	}
	if o.GetBeforeBytes() < o.GetAfterBytes()+60*mib || o.GetWallUs() == 0 || o.GetCpuUs() == 0 {
		t.Error(o)
	}
	if d := waitFor[Done](a); d.Action != "shed" || d.Why != o.GetWhy() {
		t.Errorf("%+v", d)
	}
}

func TestWithoutAHookAShedIsDeclined(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	if p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
	p.Welcome(time.Minute)
	p.Direct(shedding(1, mib, testgovernor.Patience))
	wantText(t, p.Outcome().GetWhy(), "the application has registered no cache")
}

func TestAShedOfNothingIsDeclined(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	onPressure(t, "a", givesNothing)
	attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(shedding(1, 0, testgovernor.Patience))
	wantText(t, p.Outcome().GetWhy(), "it asks for 0 bytes")
}

func TestTheFirstHookAndTheLastAreToldByANewSession(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	a := attach(t, g.Socket, machineClock{}, nil)
	old := g.Accept()
	old.Welcome(time.Minute)
	old.Report(anyReport)
	first := onPressure(t, "first", givesNothing)
	p := g.Accept()
	old.Gone()
	if !p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
	p.Welcome(time.Minute)
	second := onPressure(t, "second", givesNothing)
	first()
	p.Direct(shedding(1, mib, testgovernor.Patience))
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Error(o)
	}
	second()
	p.Direct(shedding(2, mib, testgovernor.Patience)) // the same session still
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DECLINED {
		t.Error(o)
	}
	p = g.Accept()
	if p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
	p.Welcome(time.Minute)
	p.Report(anyReport)
	welcomes := 0
	for len(a.events) > 0 {
		switch e := (<-a.events).(type) {
		case Welcomed:
			welcomes++
		case Lost:
			t.Errorf("%+v", e)
		}
	}
	if welcomes != 3 {
		t.Errorf("%d welcomes", welcomes)
	}
}

func TestAGovernorThatGoesWhileASessionIsRenewedIsMissed(t *testing.T) {
	socket := testgovernor.Socket(t)
	g := testgovernor.Start(t, socket)
	a := attach(t, socket, machineClock{}, nil)
	g.Accept().Welcome(time.Minute)
	waitFor[Welcomed](a)
	onPressure(t, "late", givesNothing)
	g.Stop()
	waitFor[Lost](a)
	if p := testgovernor.Start(t, socket).Accept(); !p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
}

func TestHooksThatComeAndGoDoNotKeepTheGovernorBusy(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	attach(t, g.Socket, clock, nil)
	p := g.Accept()
	p.Welcome(100 * time.Millisecond)
	for range 50 { // less than a second passes
		onPressure(t, "short", givesNothing)()
		clock.Advance(10 * time.Millisecond)
	}
	onPressure(t, "stays", givesNothing)
	clock.Advance(renewGained/2 - 1)
	p.Report(anyReport)
	if g.Waiting() {
		t.Error("a new session before its time")
	}
	clock.Advance(renewQuiet)
	if p := g.Accept(); !p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
}

func TestStopWaitsForTheHookThatRunsAndCallsNoOther(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	inside, mayReturn := make(chan struct{}), make(chan struct{})
	var returned, others atomic.Bool
	onPressure(t, "held", func(ctx context.Context, _ Pressure) int64 {
		close(inside)
		<-ctx.Done()
		<-mayReturn
		returned.Store(true)
		return 0
	})
	onPressure(t, "other", func(context.Context, Pressure) int64 { others.Store(true); return 0 })
	stop := begin(t, context.Background(), WithSocket(g.Socket))
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(shedding(1, mib, testgovernor.Patience))
	<-inside
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	select {
	case <-stopped:
		t.Fatal("did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(mayReturn)
	if err := <-stopped; err != nil || !returned.Load() || others.Load() {
		t.Errorf("%v, returned %v, others %v", err, returned.Load(), others.Load())
	}
}

func TestAHookMayNotStartOrStopButRegister(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	var stop func() error
	var self func()
	ready := make(chan struct{})
	self = onPressure(t, "self", func(context.Context, Pressure) int64 {
		<-ready
		if err := stop(); err == nil {
			t.Error("stopped")
		}
		if _, err := Start(context.Background()); err == nil {
			t.Error("started")
		}
		self()
		onPressure(t, "next", func(context.Context, Pressure) int64 { return mib })
		return 0
	})
	stop = begin(t, context.Background(), WithSocket(g.Socket), WithObserver(func(e Event) {
		if _, ok := e.(Done); ok {
			if err := stop(); err == nil {
				t.Error("stopped from an observer")
			}
		}
	}))
	close(ready)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(shedding(1, mib, testgovernor.Patience))
	wantText(t, p.Outcome().GetWhy(), "gave 0 KiB of 1024 KiB: self nothing")
	p.Direct(shedding(2, mib, testgovernor.Patience))
	if o := p.Outcome(); !strings.HasPrefix(o.GetWhy(), "gave 1024 KiB of 1024 KiB: next 1024 KiB") {
		t.Error(o)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestHooksOutliveAStopAndAreThereForTheNextStart(t *testing.T) {
	onPressure(t, "kept", func(context.Context, Pressure) int64 { return mib })
	for range 2 {
		g := testgovernor.Start(t, testgovernor.Socket(t))
		stop := begin(t, context.Background(), WithSocket(g.Socket))
		p := g.Accept()
		p.Welcome(time.Minute)
		p.Direct(shedding(1, mib, testgovernor.Patience))
		if o := p.Outcome(); !strings.HasPrefix(o.GetWhy(), "gave 1024 KiB") {
			t.Error(o)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestRegisteringFromManyGoroutinesWhileSessionsComeAndGo(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	over := make(chan struct{})
	working := make(chan struct{}, 3)
	for range cap(working) {
		go func() {
			for {
				select {
				case <-over:
					working <- struct{}{}
					return
				default:
					OnPressure(givesNothing)()
					runtime.Gosched()
				}
			}
		}()
	}
	for range 10 {
		stop := begin(t, context.Background(), WithSocket(g.Socket))
		p := g.Accept()
		p.Welcome(time.Minute)
		p.Direct(shedding(1, mib, testgovernor.Patience))
		p.Outcome()
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	close(over)
	for range cap(working) {
		<-working
	}
}

func TestASoftLimitEndsWhileAHookTakesLong(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	inside, mayReturn := make(chan struct{}), make(chan struct{})
	onPressure(t, "slow", func(context.Context, Pressure) int64 {
		close(inside)
		select {
		case <-mayReturn:
		case <-time.After(2 * testgovernor.Patience):
		}
		return 0
	})
	a := attach(t, g.Socket, clock, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1<<30, 10*time.Second))
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Fatal(o)
	}
	p.Direct(shedding(2, mib, testgovernor.Patience))
	<-inside
	eventually(t, "the limit ends", func() bool {
		clock.Advance(time.Second)
		return debug.SetMemoryLimit(-1) == math.MaxInt64
	})
	close(mayReturn)
	p.Outcome()
	waitFor[SoftLimitEnded](a)
}
