package memgov

// The agent: one goroutine that connects, speaks and carries out directives, and backs off when nobody answers.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

const (
	welcomeTimeout = 5 * time.Second

	// How often the heap is looked at while it changes. While it does not, the time doubles up to that between reports:
	// a reading costs a microsecond, but waking an idle program costs a hundred.
	watchEvery = 200 * time.Millisecond
	// What counts as a change.
	stirBytes = 1 << 20
	// The same while a soft limit of ours is in force, to lift it at once when it hurts.
	guardEvery = 50 * time.Millisecond

	defaultReportEvery  = time.Second
	shortestReportEvery = 100 * time.Millisecond
	longestReportEvery  = time.Minute

	// Retained memory that grew by this much, and by a quarter, is reported before its turn.
	promptBytes = 16 << 20
)

// agent is the client: one goroutine that owns all state below, and the session's two while there is one.
type agent struct {
	// Constant after construction.
	options
	clock   clock
	collect func() (heap.Work, error)
	cancel  context.CancelFunc
	done    chan struct{}

	// Of the agent's goroutine; err may be read after done is closed.
	reader  *heap.Reader
	cycles  uint64        // collections that were seen
	cycleAt time.Duration // when the last of them was seen
	share   heap.GCShare
	limit   *heap.SoftLimit
	session *session // nil: none
	silent  bool     // the governor was lost, and that was said
	retryAt time.Duration
	backoff backoff
	err     error

	// Of the session.
	welcomed     bool
	welcomeBy    time.Duration
	reportEvery  time.Duration
	nextReport   time.Duration
	lastRetained uint64 // as reported
	seenRetained uint64 // as looked at
	watch        time.Duration
}

func newAgent(o options, c clock) *agent {
	return &agent{
		options: o,
		clock:   c,
		collect: heap.Collect,
		done:    make(chan struct{}),
		reader:  heap.NewReader(),
		limit:   heap.NewSoftLimit(debug.SetMemoryLimit, heap.Startup),
	}
}

func (a *agent) start() {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go a.run(ctx)
}

// stop ends the agent, undoes what it changed and waits for that. The error is a defect that ended the agent before.
func (a *agent) stop() error {
	a.cancel()
	<-a.done
	return a.err
}

func (a *agent) run(ctx context.Context) {
	defer close(a.done)
	defer func() {
		// Whatever goes wrong in here must not take the service down, and must leave nothing behind.
		if p := recover(); p != nil {
			a.err = fmt.Errorf("memgov: the client stopped by a defect: %v", p)
			a.logger.Error("memgov: stopped by a defect", "panic", p)
		}
		a.limit.Undo()
		if a.session != nil {
			a.session.close()
		}
	}()
	alarm := a.clock.NewAlarm()
	defer alarm.Stop()
	for ctx.Err() == nil {
		alarm.Set(a.step(ctx))
		var in chan received
		if a.session != nil {
			in = a.session.in
		}
		select {
		case <-ctx.Done():
		case <-alarm.Rings():
		case r, ok := <-in:
			if ok {
				a.receive(r)
			} else {
				a.lose(a.clock.Now(), a.session.err)
			}
		}
	}
}

// step does all that is due and returns when to come back.
func (a *agent) step(ctx context.Context) time.Duration {
	now := a.clock.Now()
	_, limited := a.limit.Ends()
	if !a.welcomed && !limited {
		return a.connect(ctx, now)
	}
	s := a.look(now)
	if why := a.limit.Tick(now, s); why != "" {
		a.logger.Info("memgov: the soft limit ended", "why", why)
		a.observer(SoftLimitEnded{At: now, Why: why})
		a.nextReport = now
		s = a.look(now)
	}
	next := time.Duration(math.MaxInt64)
	if ends, limited := a.limit.Ends(); limited {
		next = min(now+guardEvery, ends)
	}
	if !a.welcomed {
		return min(next, a.connect(ctx, now))
	}
	retained, _ := s.Retained(now - a.cycleAt)
	if now >= a.nextReport || retained >= a.lastRetained+max(promptBytes, a.lastRetained/4) {
		a.report(now, s)
	}
	return min(next, a.nextReport, now+a.watchAfter(retained))
}

// watchAfter returns when to look at the heap again.
func (a *agent) watchAfter(retained uint64) time.Duration {
	a.watch *= 2
	if retained > a.seenRetained+stirBytes || retained+stirBytes < a.seenRetained {
		a.watch = 0
	}
	a.seenRetained = retained
	a.watch = min(max(a.watch, watchEvery), max(a.reportEvery, watchEvery))
	return a.watch
}

// look reads the metrics and notes when a collection was seen.
func (a *agent) look(now time.Duration) heap.Sample {
	s := a.reader.Read()
	if s.Cycles != a.cycles || a.cycleAt == 0 {
		a.cycles, a.cycleAt = s.Cycles, now
	}
	return s
}

// connect opens a session when it is time to, and gives up one that brings no Welcome.
func (a *agent) connect(ctx context.Context, now time.Duration) time.Duration {
	if a.session != nil && now >= a.welcomeBy {
		a.lose(now, fmt.Errorf("no welcome within %v", welcomeTimeout))
	}
	if a.session == nil && now >= a.retryAt {
		a.welcomeBy = now + welcomeTimeout
		a.session = openSession(ctx, a.socket, a.hello(), a.clock)
	}
	if a.session == nil {
		return a.retryAt
	}
	return a.welcomeBy
}

// lose drops the session and sets the time of the next try. The soft limit stays until its time is over.
func (a *agent) lose(now time.Duration, err error) {
	a.session.close()
	a.session, a.welcomed = nil, false
	a.retryAt = now + a.backoff.next()
	if !a.silent {
		a.silent = true
		a.logger.Info("memgov: no governor", "socket", a.socket, "why", err)
		a.observer(Lost{At: now, Err: err})
	}
}

func (a *agent) receive(r received) {
	switch body := r.message.GetBody().(type) {
	case *pb.GovernorMessage_Welcome:
		a.welcome(r.at, body.Welcome)
	case *pb.GovernorMessage_Directive:
		if !a.welcomed {
			a.lose(r.at, errors.New("a directive before the welcome"))
			return
		}
		a.obey(r.at, body.Directive)
	default: // of a newer governor
		a.logger.Debug("memgov: a message of unknown kind is ignored")
	}
}

func (a *agent) welcome(at time.Duration, w *pb.Welcome) {
	a.welcomed, a.silent = true, false
	a.backoff = 0
	a.reportEvery = defaultReportEvery
	if w.GetReportEveryMs() != 0 {
		asked := time.Duration(w.GetReportEveryMs()) * time.Millisecond
		a.reportEvery = min(max(asked, shortestReportEvery), longestReportEvery)
	}
	a.nextReport, a.lastRetained = at, 0
	a.logger.Info("memgov: attached", "governor", w.GetGovernor(), "cgroup", w.GetCgroup(),
		"container", w.GetContainer(), "enforcing", w.GetEnforcing())
	a.observer(Welcomed{
		At:          at,
		Governor:    w.GetGovernor(),
		Cgroup:      w.GetCgroup(),
		Container:   w.GetContainer(),
		Enforcing:   w.GetEnforcing(),
		ReportEvery: a.reportEvery,
	})
}

func (a *agent) hello() *pb.Hello {
	return &pb.Hello{
		Runtime: text(runtime.Version(), longestName),
		Client:  "memgov-go " + Version,
		Name:    a.name,
		Capabilities: &pb.Capabilities{
			Collect:      true,
			SetSoftLimit: true,
			StallClass:   pb.StallClass_STALL_CLASS_MEDIUM,
		},
		StartupReleaseMode: releaseMode(),
	}
}

// report tells the governor the state of the heap. A report that finds the queue full is not worth waiting for; an
// outcome that does ends the session.
func (a *agent) report(now time.Duration, s heap.Sample) {
	a.nextReport = now + a.reportEvery
	retained, kind := s.Retained(now - a.cycleAt)
	a.lastRetained = retained
	share := a.share.Next(s)
	r := &pb.Report{
		LiveBytes:     s.LiveBytes(),
		RetainedBytes: retained,
		RetainedKind:  estimateKind(kind),
		NonHeapBytes:  s.NonHeap(),
		GcCpuFraction: &share,
		ReleaseMode:   releaseMode(),
	}
	if s.SoftLimit != heap.NoLimit {
		r.SoftLimitBytes = &s.SoftLimit
	}
	if heap.Startup.LazyRelease() {
		r.LazilyFreedBytes = lazilyFreed(s)
	}
	a.session.send(&pb.ClientMessage{Body: &pb.ClientMessage_Report{Report: r}})
}

// lazilyFreed is an upper bound: released address space counts what was never touched, resident memory what is in use.
func lazilyFreed(s heap.Sample) uint64 {
	resident, err := heap.Resident()
	if err != nil || resident < s.Objects {
		return 0
	}
	return min(s.Released, resident-s.Objects)
}

func releaseMode() pb.ReleaseMode {
	if heap.Startup.LazyRelease() {
		return pb.ReleaseMode_RELEASE_MODE_LAZY
	}
	return pb.ReleaseMode_RELEASE_MODE_EAGER
}

func estimateKind(k heap.Kind) pb.EstimateKind {
	switch k {
	case heap.Exact:
		return pb.EstimateKind_ESTIMATE_KIND_EXACT
	case heap.Bound:
		return pb.EstimateKind_ESTIMATE_KIND_BOUND
	default:
		return pb.EstimateKind_ESTIMATE_KIND_NONE
	}
}
