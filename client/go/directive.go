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
		Level: levelName(d.GetLevel()), Rule: d.GetReason().GetRule(), Reason: d.GetReason().GetText(),
	})

	var outcome *pb.Outcome
	if late := a.clock.Now() - at; late >= deadline {
		outcome = declined(fmt.Errorf("%v after receipt is past the deadline of %v", late.Round(time.Millisecond), deadline))
	} else {
		outcome = a.act(d, ttl)
	}
	outcome.Id = d.GetId()
	a.answer(outcome, action)
}

func (a *agent) act(d *pb.Directive, ttl time.Duration) *pb.Outcome {
	switch action := d.GetAction().(type) {
	case *pb.Directive_Collect:
		return a.doCollect()
	case *pb.Directive_SetSoftLimit:
		return a.doSetSoftLimit(action.SetSoftLimit.GetBytes(), ttl)
	case *pb.Directive_SetReleaseMode:
		return declined(fmt.Errorf("how the Go runtime releases is fixed at start-up (GODEBUG=madvdontneed): %s", releaseMode()))
	case *pb.Directive_Release:
		return declined(errors.New("the Go runtime does not release without a collection; ask for Collect"))
	case *pb.Directive_Shed:
		return declined(errors.New("no cache of the application is registered"))
	default:
		return declined(errors.New("this client does not know the action"))
	}
}

func (a *agent) doCollect() *pb.Outcome {
	work, err := a.collect()
	outcome := done(work)
	if err != nil {
		outcome.Why = text("the resident size is not known: "+err.Error(), maxWhy)
	}
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
	a.nextReport = now
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
	return &pb.Outcome{Status: pb.Outcome_STATUS_DECLINED, Why: text(why.Error(), maxWhy)}
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

func levelName(l pb.Level) string {
	switch l {
	case pb.Level_LEVEL_CALM:
		return "calm"
	case pb.Level_LEVEL_WAKE:
		return "wake"
	case pb.Level_LEVEL_CRITICAL:
		return "critical"
	default:
		return "unknown"
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
