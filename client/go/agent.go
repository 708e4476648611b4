package memgov

// The agent: one goroutine that connects, speaks and carries out directives, and backs off when nobody answers.

import (
	"context"
	"errors"
	"fmt"
	"math"
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

	// A session lasts so long before another takes its place only to say that hooks have come, or have gone: a program
	// that registers and unregisters all the time must not keep its governor busy. Hooks that are gone can wait, because
	// a Shed is declined until then.
	renewGained = time.Second
	renewLost   = 3 * time.Second
	// The last outcome is on its way by then.
	renewQuiet = 200 * time.Millisecond
)

// agent is the client: one goroutine that owns all state below, and the session's two while there is one.
type agent struct {
	// Constant after construction.
	options
	clock   clock
	hooks   *hooks
	collect func() (heap.Work, error)
	worth   func(urgency, heap.Sample, freshness) string
	ctx     context.Context // of the agent: over when it is to stop
	cancel  context.CancelFunc
	done    chan struct{}

	// Of the agent's goroutine; err may be read after done is closed.
	alarm      alarm
	reader     *heap.Reader
	lookedAt   time.Duration // when the heap was looked at last
	cycles     uint64        // collections that were seen
	cycleAt    time.Duration // when the last of them was seen
	cycleAfter time.Duration // ... and when it was not yet
	pacer      pacer
	bounds     bounds
	share      heap.GCShare
	limit      *heap.SoftLimit
	session    *session // nil: none
	silent     bool     // the governor was lost, and that was said
	refused    string   // the last refusal that was said
	asked      request  // the last one that takes time
	retryAt    time.Duration
	backoff    backoff
	err        error

	// Of the session.
	welcomed     bool
	enforcing    bool
	toldShed     bool // in its Hello
	openedAt     time.Duration
	answeredAt   time.Duration // the last outcome
	welcomeBy    time.Duration
	reportEvery  time.Duration
	nextReport   time.Duration
	lastRetained uint64 // as reported
	seenRetained uint64 // as looked at
	watch        time.Duration
}

func newAgent(o options, c clock) *agent {
	ctx, cancel := context.WithCancel(context.Background())
	return &agent{
		options: o,
		clock:   c,
		hooks:   programHooks,
		collect: heap.Collect,
		worth:   worth,
		ctx:     ctx,
		cancel:  cancel,
		done:    make(chan struct{}),
		alarm:   c.NewAlarm(),
		pacer:   newPacer(o.budget),
		reader:  heap.NewReader(),
		limit:   heap.NewSoftLimit(debug.SetMemoryLimit, heap.Startup),
	}
}

func (a *agent) start() { go a.run() }

// stop ends the agent, undoes what it changed and waits for that. The error is a defect that ended the agent before.
func (a *agent) stop() error {
	a.cancel()
	<-a.done
	return a.err
}

func (a *agent) run() {
	defer close(a.done)
	defer enterCallback()()
	defer a.alarm.Stop()
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
	for a.ctx.Err() == nil {
		a.alarm.Set(a.step())
		var in chan received
		if a.session != nil {
			in = a.session.in
		}
		select {
		case <-a.ctx.Done():
		case <-a.alarm.Rings():
		case <-a.hooks.changed:
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
func (a *agent) step() time.Duration {
	now := a.clock.Now()
	if !a.welcomed && !a.limit.Watching() {
		return a.connect(now)
	}
	s := a.guardLimit(now)
	next := time.Duration(math.MaxInt64)
	if ends, limited := a.limit.Ends(); limited {
		next = min(now+guardEvery, ends)
	}
	if a.welcomed && a.toldShed != a.hooks.any() {
		due := max(a.renewAt(), a.answeredAt+renewQuiet)
		if now >= due && len(a.session.in) == 0 {
			a.renew(now)
		} else {
			next = min(next, max(due, now+watchEvery))
		}
	}
	if !a.welcomed {
		return min(next, a.connect(now))
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
		a.cycles, a.cycleAt, a.cycleAfter = s.Cycles, now, a.lookedAt
	}
	a.lookedAt = now
	return s
}

// guardLimit ends the soft limit when it is time to.
func (a *agent) guardLimit(now time.Duration) heap.Sample {
	s := a.look(now)
	if why := a.limit.Tick(now, s); why != "" {
		a.logger.Info("memgov: the soft limit ended", "why", why)
		a.observer(SoftLimitEnded{At: now, Why: why})
		a.nextReport = now
		s = a.look(now)
	}
	return s
}

// await waits for a hook, and guards the soft limit meanwhile: it may be what makes the hook slow.
func (a *agent) await(returned <-chan struct{}) {
	for {
		if _, limited := a.limit.Ends(); !limited {
			<-returned
			return
		}
		a.alarm.Set(a.clock.Now() + guardEvery)
		select {
		case <-returned:
			return
		case <-a.alarm.Rings():
			a.guardLimit(a.clock.Now())
		}
	}
}

// connect opens a session when it is time to, and gives up one that brings no Welcome.
func (a *agent) connect(now time.Duration) time.Duration {
	if a.session != nil && now >= a.welcomeBy {
		a.lose(now, fmt.Errorf("no welcome within %v", welcomeTimeout))
	}
	if a.session == nil && now >= a.retryAt {
		a.open(now)
	}
	if a.session == nil {
		return a.retryAt
	}
	return a.welcomeBy
}

func (a *agent) open(now time.Duration) {
	a.toldShed = a.hooks.any()
	a.openedAt, a.welcomeBy = now, now+welcomeTimeout
	a.session = openSession(a.ctx, a.socket, a.hello(), a.clock, &a.bounds)
}

// renewAt is when a new session may take this one's place.
func (a *agent) renewAt() time.Duration {
	if a.toldShed {
		return a.openedAt + renewLost
	}
	return a.openedAt + renewGained
}

// renew puts a new session in the old one's place, without a word to the program: nothing has happened to it.
func (a *agent) renew(now time.Duration) {
	a.session.close()
	a.welcomed, a.backoff = false, 0
	a.open(now)
}

// lose drops the session and sets the time of the next try. The soft limit stays until its time is over.
func (a *agent) lose(now time.Duration, err error) {
	a.session.close()
	a.session, a.welcomed = nil, false
	longest := longestBackoff
	isNews := false
	if isRefusal(err) {
		longest = refusedBackoff
		isNews = a.refused != err.Error()
		a.refused = err.Error()
	}
	if errors.Is(err, errFlood) {
		a.backoff = backoff(refusedBackoff)
	}
	a.retryAt = now + a.backoff.next(longest)
	if !a.silent || isNews {
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
	a.welcomed, a.silent, a.refused = true, false, ""
	a.enforcing = w.GetEnforcing()
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
