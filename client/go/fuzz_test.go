package memgov

import (
	"bytes"
	"context"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

// fuzzed is an agent that is attached to nobody, on a clock that stands, and the limit that it has set.
func fuzzed(t *testing.T) (a *agent, limit *int64) {
	o, err := newOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	limit = new(int64)
	*limit = heap.NoLimit
	set := func(to int64) int64 {
		was := *limit
		if to >= 0 {
			*limit = to
		}
		return was
	}
	a = newAgent(o, newHandClock())
	a.hooks = newHooks()
	a.hooks.add(func(_ context.Context, p Pressure) int64 {
		if p.Bytes <= 0 {
			t.Errorf("asked for %d bytes", p.Bytes)
		}
		return p.Bytes/2 - 1
	}, nil)
	a.collect = func() (heap.Work, error) { return heap.Work{CPU: time.Millisecond}, nil }
	a.limit = heap.NewSoftLimit(set, heap.Environment{})
	return a, limit
}

// pretend attaches the agent to a queue.
func (a *agent) pretend() {
	a.welcomed, a.enforcing = true, true
	in := make(chan received)
	close(in)
	a.session = &session{in: in, out: make(chan *pb.ClientMessage, queueLength), cancel: func() {}}
}

// FuzzReceive: whatever the governor says, each directive gets one answer, nothing breaks and no limit outlives stop.
func FuzzReceive(f *testing.F) {
	for _, m := range seeds() {
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
		a, limit := fuzzed(t)
		a.pretend()
		a.receive(received{at: a.clock.Now(), message: m})
		if m.GetDirective() != nil {
			checkAnswer(t, m.GetDirective(), (<-a.session.out).GetOutcome())
		}
		a.limit.Undo()
		if *limit != heap.NoLimit {
			t.Errorf("a limit of %d stays", *limit)
		}
	})
}

// FuzzStream: the same for a stream of messages, with time between them. Each is preceded by its length and by the time
// in units of 100 ms.
func FuzzStream(f *testing.F) {
	var all []byte
	for i, m := range seeds() {
		wire, err := proto.Marshal(m)
		if err != nil || len(wire) > 255 {
			f.Fatal(err, len(wire))
		}
		all = append(append(all, byte(len(wire)), byte(i)), wire...)
		f.Add(bytes.Clone(all))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		a, limit := fuzzed(t)
		a.pretend()
		for len(stream) >= 2 {
			size := min(int(stream[0]), len(stream)-2)
			a.clock.(*handClock).Advance(time.Duration(stream[1]) * 100 * time.Millisecond)
			m := &pb.GovernorMessage{}
			if proto.Unmarshal(stream[2:2+size], m) != nil {
				break
			}
			stream = stream[2+size:]
			if a.guardLimit(a.clock.Now()); a.session == nil {
				a.pretend()
			}
			out := a.session.out
			a.receive(received{at: a.clock.Now(), message: m})
			if m.GetDirective() != nil {
				checkAnswer(t, m.GetDirective(), (<-out).GetOutcome())
			}
			if len(out) > 0 {
				t.Errorf("%v: more was said", m)
			}
			if ends, limited := a.limit.Ends(); limited && ends > a.clock.Now()+math.MaxUint32*time.Millisecond {
				t.Errorf("%v: a limit until %v", m, ends)
			}
		}
		a.limit.Undo()
		if *limit != heap.NoLimit {
			t.Errorf("a limit of %d stays", *limit)
		}
	})
}

func checkAnswer(t *testing.T, d *pb.Directive, answer *pb.Outcome) {
	if answer.GetId() != d.GetId() || answer.GetStatus() == pb.Outcome_STATUS_UNSPECIFIED || len(answer.GetWhy()) > maxWhy {
		t.Errorf("%v: %v", d, answer)
	}
	if _, err := proto.Marshal(answer); err != nil {
		t.Error(err)
	}
}

func seeds() []*pb.GovernorMessage {
	return []*pb.GovernorMessage{
		{},
		{Body: &pb.GovernorMessage_Welcome{Welcome: &pb.Welcome{Cgroup: "/a", ReportEveryMs: 1}}},
		{Body: &pb.GovernorMessage_Directive{Directive: collect(1, time.Second)}},
		{Body: &pb.GovernorMessage_Directive{Directive: softLimit(2, 1, time.Second)}},
		{Body: &pb.GovernorMessage_Directive{Directive: &pb.Directive{Action: &pb.Directive_Collect{}}}},
		{Body: &pb.GovernorMessage_Directive{Directive: shedding(3, 1<<20, time.Second)}},
		{Body: &pb.GovernorMessage_Directive{Directive: &pb.Directive{Level: 9, Reason: &pb.Reason{Signal: "stall"},
			Action: &pb.Directive_Collect{Collect: &pb.Collect{Bytes: 1 << 63}}}}},
		{Body: &pb.GovernorMessage_Directive{}},
	}
}
