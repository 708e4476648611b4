package memgov

// What each directive does to this process, and why one is declined.

import (
	"errors"
	"fmt"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

// obey carries out a directive or declines it, and answers with what came of it.
func (a *agent) obey(at time.Duration, d *pb.Directive) {
	action, bytes := describe(d)
	deadline := time.Duration(d.GetDeadlineMs()) * time.Millisecond
	ttl := time.Duration(d.GetTtlMs()) * time.Millisecond
	a.observer(Received{
		At: at, ID: d.GetId(), Action: action, Bytes: bytes, Deadline: deadline, TTL: ttl,
		Level: Level(d.GetLevel()).String(), Rule: d.GetReason().GetRule(), Reason: d.GetReason().GetText(),
	})

	// The deadline is 0 when there is none.
	var until time.Duration
	if deadline > 0 {
		until = at + deadline
	}
	outcome := a.objection(at, until)
	if outcome == nil && takesTime(d) && a.asked.underWay(at) {
		outcome = declined(errOneWaits)
	}
	if outcome == nil && !a.bounds.mayWork(a.clock.Now()) {
		outcome = declined(errTooSoon)
	}
	if outcome == nil {
		began := a.clock.Now()
		outcome = a.act(d, min(ttl, longestTTL), until)
		ended := a.clock.Now()
		a.bounds.worked(ended-began, began)
		if takesTime(d) {
			a.asked = request{came: at, deadline: deadline, ended: ended}
		}
	}
	outcome.Id = d.GetId()
	a.answer(outcome, action)
}

// request is one that takes time, of which a governor has one under way at a time: it waits for the answer, or until
// the deadline has passed twice.
type request struct{ came, deadline, ended time.Duration }

func (r request) underWay(at time.Duration) bool {
	return at < r.ended && (r.deadline == 0 || at < r.came+2*r.deadline)
}

func takesTime(d *pb.Directive) bool {
	switch d.GetAction().(type) {
	case *pb.Directive_Release, *pb.Directive_Collect, *pb.Directive_Shed:
		return true
	}
	return false
}

// objection declines what may not come, or comes too late.
func (a *agent) objection(at, until time.Duration) *pb.Outcome {
	switch now := a.clock.Now(); {
	case !a.enforcing:
		return declined(errors.New("the Welcome said observe mode, in which no directive may come"))
	case until != 0 && now >= until:
		return declined(fmt.Errorf("%v after receipt is past the deadline of %v", (now - at).Round(time.Millisecond), until-at))
	}
	return nil
}

func (a *agent) act(d *pb.Directive, ttl, until time.Duration) *pb.Outcome {
	switch action := d.GetAction().(type) {
	case *pb.Directive_Collect:
		return a.doCollect(action.Collect.GetBytes(), urgencyOf(d), until)
	case *pb.Directive_SetSoftLimit:
		return a.doSetSoftLimit(action.SetSoftLimit.GetBytes(), ttl)
	case *pb.Directive_SetReleaseMode:
		return declined(fmt.Errorf("how the Go runtime releases is fixed at start-up (GODEBUG=madvdontneed): %s", releaseMode()))
	case *pb.Directive_Release:
		return declined(errors.New("ask for Collect: where free spans are enough it returns them without a collection"))
	case *pb.Directive_Shed:
		return a.doShed(action.Shed.GetBytes(), Level(d.GetLevel()), urgencyOf(d), until)
	default:
		return declined(errors.New("this client does not know the action"))
	}
}

// urgencyOf is the governor's own rule for when time is short (governor/core/engine_haste.cc), as far as a client can see:
// a critical level, or a reason that is no share of the limit. A forecast is the reason, too, where the limit would be
// reached before the next request could be answered.
func urgencyOf(d *pb.Directive) urgency {
	signal := d.GetReason().GetSignal()
	return d.GetLevel() == pb.Level_LEVEL_CRITICAL || signal == "time_to_limit" || signal == "stall"
}

// doCollect does the least that brings what there is: nothing, where nothing is to be had; free spans without a
// collection, where a collection has just told what is free; else a collection, if it is within the budget.
func (a *agent) doCollect(bytes uint64, urgent urgency, until time.Duration) *pb.Outcome {
	now := a.clock.Now()
	s := a.look(now)
	age := freshness{youngest: now - a.cycleAt, oldest: now - a.cycleAfter}
	if why := a.worth(urgent, s, age); why != "" {
		return declined(errors.New(why))
	}
	// Near a kill what died since may be needed too.
	var free heap.Work
	if _, kind := s.Retained(age.youngest); kind == heap.Exact && (!bool(urgent) || s.Free >= bytes) {
		late := func() bool { return a.ctx.Err() != nil || until != 0 && a.clock.Now() >= until }
		work, released, err := a.limit.ReleaseFree(a.reader, late)
		if err == nil && released >= leastWorth && (!bool(urgent) || released >= bytes) {
			outcome := done(work)
			outcome.Why = fmt.Sprintf("%s of free spans, without a collection", sizeText(released))
			return outcome
		}
		free = work
	}
	if why := a.pacer.affordable(now, urgent); why != "" {
		return declined(errors.New(why))
	}
	return a.collectNow(free)
}

// collectNow collects; before says what was released ahead of it, for the same outcome.
func (a *agent) collectNow(before heap.Work) *pb.Outcome {
	work, err := a.collect()
	a.pacer.note(a.clock.Now(), work.CPU)
	outcome := done(before.Then(work))
	if err != nil {
		outcome.Why = text("the resident size is not known: "+err.Error(), maxWhy)
	}
	return outcome
}

// doShed asks the program's caches; then a collection returns what they dropped.
func (a *agent) doShed(bytes uint64, level Level, urgent urgency, until time.Duration) *pb.Outcome {
	resident, _ := heap.Resident()
	start := a.clock.Now()
	s := a.hooks.shed(a.ctx, order{level: level, bytes: bytes, until: until, clock: a.clock, await: a.await,
		broke: func(name string, panicked any) {
			a.logger.Error("memgov: a pressure hook failed", "hook", name, "panic", panicked)
		}})
	switch {
	case s.called+s.left > 0:
	case a.hooks.any():
		return declined(errors.New("it asks for 0 bytes"))
	default:
		return declined(errors.New("the application has registered no cache"))
	}
	outcome := done(heap.Work{Before: resident, After: resident})
	if s.given >= leastWorth && a.ctx.Err() == nil {
		if why := a.pacer.affordable(a.clock.Now(), urgent); why != "" {
			s.text += "; not released: " + why
		} else {
			released := a.collectNow(heap.Work{})
			outcome.CpuUs = released.GetCpuUs()
		}
	}
	outcome.AfterBytes, _ = heap.Resident()
	outcome.WallUs = uint64((a.clock.Now() - start).Microseconds())
	outcome.Why = text(s.text, maxWhy)
	return outcome
}

func (a *agent) doSetSoftLimit(bytes uint64, ttl time.Duration) *pb.Outcome {
	start := a.clock.Now()
	resident, _ := heap.Resident() // unknown is reported as 0; setting a limit returns nothing by itself anyway
	s := a.look(start)
	if err := a.limit.Set(start, bytes, ttl, s); err != nil {
		return declined(err)
	}
	outcome := done(heap.Work{Before: resident, After: resident, Wall: a.clock.Now() - start})
	if inForce := uint64(a.limit.InForce()); inForce > bytes {
		outcome.Why = fmt.Sprintf("raised from %d to this program's floor of %d bytes", bytes, inForce)
	}
	return outcome
}

// answer sends the outcome and lets a report follow at once.
func (a *agent) answer(o *pb.Outcome, action string) {
	now := a.clock.Now()
	a.nextReport, a.answeredAt = now, now
	status := statusName(o.GetStatus())
	a.logger.Info("memgov: "+action, "id", o.GetId(), "status", status, "why", o.GetWhy(), "before", o.GetBeforeBytes(),
		"after", o.GetAfterBytes(), "wall_us", o.GetWallUs(), "cpu_us", o.GetCpuUs())
	sent := a.session.send(&pb.ClientMessage{Body: &pb.ClientMessage_Outcome{Outcome: o}})
	a.observer(Done{
		At: now, ID: o.GetId(), Action: action, Status: status, Why: o.GetWhy(),
		Before: o.GetBeforeBytes(), After: o.GetAfterBytes(),
		Wall: time.Duration(o.GetWallUs()) * time.Microsecond, CPU: time.Duration(o.GetCpuUs()) * time.Microsecond,
	})
	if !sent {
		a.lose(now, errors.New("the governor does not read"))
	}
}

const maxWhy = 256

func declined(why error) *pb.Outcome {
	resident, _ := heap.Resident() // unknown is reported as 0
	return &pb.Outcome{Status: pb.Outcome_STATUS_DECLINED, Why: text(why.Error(), maxWhy),
		BeforeBytes: resident, AfterBytes: resident}
}

func done(work heap.Work) *pb.Outcome {
	return &pb.Outcome{
		Status:      pb.Outcome_STATUS_DONE,
		BeforeBytes: work.Before,
		AfterBytes:  work.After,
		WallUs:      uint64(work.Wall.Microseconds()),
		CpuUs:       uint64(work.CPU.Microseconds()),
	}
}

// describe names the action of a directive and the bytes that it asks for.
func describe(d *pb.Directive) (action string, bytes uint64) {
	switch action := d.GetAction().(type) {
	case *pb.Directive_SetReleaseMode:
		return "set_release_mode", 0
	case *pb.Directive_Release:
		return "release", action.Release.GetBytes()
	case *pb.Directive_Collect:
		return "collect", action.Collect.GetBytes()
	case *pb.Directive_SetSoftLimit:
		return "set_soft_limit", action.SetSoftLimit.GetBytes()
	case *pb.Directive_Shed:
		return "shed", action.Shed.GetBytes()
	default:
		return "unknown", 0
	}
}

func statusName(s pb.Outcome_Status) string {
	switch s {
	case pb.Outcome_STATUS_DONE:
		return "done"
	case pb.Outcome_STATUS_DECLINED:
		return "declined"
	case pb.Outcome_STATUS_FAILED:
		return "failed"
	default:
		return "unknown"
	}
}
