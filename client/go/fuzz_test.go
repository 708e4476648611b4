package memgov

import (
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
			limit = to
			return was
		}
		a := newAgent(o, newHandClock())
		a.collect = func() (heap.Work, error) { return heap.Work{}, nil }
		a.limit = heap.NewSoftLimit(set, heap.Environment{})
		a.welcomed = true
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
