package memgov

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

// FuzzReceive: whatever the governor says, each directive gets one answer, nothing breaks and no limit outlives stop.
func FuzzReceive(f *testing.F) {
	for _, m := range []*pb.GovernorMessage{
		{},
		{Body: &pb.GovernorMessage_Welcome{Welcome: &pb.Welcome{Cgroup: "/a", ReportEveryMs: 1}}},
		{Body: &pb.GovernorMessage_Directive{Directive: collect(1, time.Second)}},
		{Body: &pb.GovernorMessage_Directive{Directive: softLimit(2, 1, time.Second)}},
		{Body: &pb.GovernorMessage_Directive{Directive: &pb.Directive{Action: &pb.Directive_Collect{}}}},
		{Body: &pb.GovernorMessage_Directive{Directive: shedding(3, 1<<20, time.Second)}},
		{Body: &pb.GovernorMessage_Directive{Directive: &pb.Directive{Level: 9, Reason: &pb.Reason{Signal: "stall"},
			Action: &pb.Directive_Collect{Collect: &pb.Collect{Bytes: 1 << 63}}}}},
		{Body: &pb.GovernorMessage_Directive{}},
	} {
		wire, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := &pb.GovernorMessage{}
		if proto.Unmarshal(wire, m) != nil {
			return // gRPC ends the stream
		}
		o, err := newOptions(nil)
		if err != nil {
			t.Fatal(err)
		}
		limit := int64(heap.NoLimit)
		set := func(to int64) int64 {
			was := limit
			if to >= 0 {
				limit = to
			}
			return was
		}
		a := newAgent(o, newHandClock())
		a.collect = func() (heap.Work, error) { return heap.Work{}, nil }
		a.limit = heap.NewSoftLimit(set, heap.Environment{})
		a.welcomed, a.enforcing = true, true
		a.hooks = newHooks()
		a.hooks.add(func(_ context.Context, p Pressure) int64 {
			if p.Bytes <= 0 {
				t.Errorf("asked for %d bytes", p.Bytes)
			}
			return p.Bytes/2 - 1
		}, nil)
		a.session = &session{out: make(chan *pb.ClientMessage, queueLength), cancel: func() {}}
		a.receive(received{at: a.clock.Now(), message: m})
		if m.GetDirective() != nil {
			answer := (<-a.session.out).GetOutcome()
			if answer.GetId() != m.GetDirective().GetId() || answer.GetStatus() == pb.Outcome_STATUS_UNSPECIFIED {
				t.Errorf("%v: %v", m, answer)
			}
			if _, err := proto.Marshal(answer); err != nil {
				t.Error(err)
			}
		}
		a.limit.Undo()
		if limit != heap.NoLimit {
			t.Errorf("a limit of %d stays", limit)
		}
	})
}
