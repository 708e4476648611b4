package memgov

// Which collections that the governor asks for are worth what they cost. A pure rule: time and readings are arguments.

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
)

// Budget bounds what the collections that the governor asks for may cost this program. Where a kill is near (level
// critical, or what was crossed is no share of a limit but a forecast or a stall) it does not hold: the kill costs more.
// Fields that are 0 mean the default.
type Budget struct {
	// CPU is the share of the CPU time that the program could use (GOMAXPROCS processors) that goes into them: after one
	// that cost a second of CPU on two processors with a share of 0.1 the next comes 5 s later at the earliest. From 0 to
	// 1; the default is 0.1, as much as the governor's own budget (gc_cpu_percent) on one processor.
	CPU float64
	// Least is the time between the end of one and the next, however cheap they are. The default is 250 ms.
	Least time.Duration
	// Jitter lengthens each pause by up to this share of it at random, so that programs which collected at the same time
	// do not do so again. From 0 to 1; the default is 0.1.
	Jitter float64
}

const (
	defaultCPUShare = 0.1 // M3 (EuroSys '21) lets a Go client spend so much of its time
	defaultLeast    = 250 * time.Millisecond
	defaultJitter   = 0.1

	// What the last collection left is not worth the next one below this.
	leastWorth = 1 << 20
	// Where a kill is near, looking for what died since the last collection is worth another one, unless it ended later
	// than so long ago.
	justNow = time.Second
)

// WithBudget bounds what collections cost that the governor asks for.
func WithBudget(b Budget) Option { return func(o *options) { o.budget = b } }

func (b Budget) withDefaults() (Budget, error) {
	if !(b.CPU >= 0 && b.CPU <= 1) || b.Least < 0 || !(b.Jitter >= 0 && b.Jitter <= 1) {
		return b, fmt.Errorf("memgov: not a budget: %+v", b)
	}
	if b.CPU == 0 {
		b.CPU = defaultCPUShare
	}
	if b.Least == 0 {
		b.Least = defaultLeast
	}
	if b.Jitter == 0 {
		b.Jitter = defaultJitter
	}
	return b, nil
}

// pacer is the budget's account.
type pacer struct {
	budget Budget
	random func() float64 // from 0 to 1

	spent time.Duration // CPU time of the last collection
	rests time.Duration // until then
}

func newPacer(b Budget) pacer { return pacer{budget: b, random: rand.Float64} }

// urgency says whether a kill is near.
type urgency bool

// freshness is what is known of when the last collection ended: some time between the two.
type freshness struct{ youngest, oldest time.Duration }

// worth objects to a collection that would bring nothing: one has just ended, left nothing, and next to nothing was
// allocated since. "": it may bring something.
func worth(urgent urgency, s heap.Sample, age freshness) string {
	retained, kind := s.Retained(age.youngest)
	if kind != heap.Exact || retained >= leastWorth || bool(urgent) && age.oldest >= justNow {
		return ""
	}
	return fmt.Sprintf("would not pay: the last collection left %s, and little was allocated since", sizeText(retained))
}

// affordable objects to a collection that is beyond the budget. "": it is not.
func (p *pacer) affordable(now time.Duration, urgent urgency) string {
	if bool(urgent) || now >= p.rests {
		return ""
	}
	return fmt.Sprintf("over the budget for collections: the last one took %v of CPU, the next may come in %v",
		p.spent.Round(100*time.Microsecond), (p.rests - now).Round(time.Millisecond))
}

// note counts a collection that has just ended.
func (p *pacer) note(now time.Duration, cpu time.Duration) {
	usable := p.budget.CPU * float64(runtime.GOMAXPROCS(0))
	pause := max(time.Duration(float64(cpu)/usable)-cpu, p.budget.Least)
	p.spent = cpu
	p.rests = now + pause + time.Duration(p.random()*p.budget.Jitter*float64(pause))
}
