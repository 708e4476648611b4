package memgov

// Governors that hang, talk nonsense or do not read.

import (
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

// A listener that accepts and then does as `serve` says.
func rawGovernor(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	socket := testgovernor.Socket(t)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return socket
}

func TestGovernorThatHangs(t *testing.T) {
	for name, c := range map[string]struct{ greets bool }{"before the handshake": {false}, "before the welcome": {true}} {
		t.Run(name, func(t *testing.T) {
			hung := make(chan struct{}, 16)
			clock := newHandClock()
			var a *attachment
			if c.greets {
				g := testgovernor.Start(t, testgovernor.Socket(t))
				a = attach(t, g.Socket, clock, nil)
				g.Accept()
				defer g.Accept() // and once more, after the clock moved
			} else {
				a = attach(t, rawGovernor(t, func(net.Conn) { hung <- struct{}{} }), clock, nil)
				<-hung
				defer func() { <-hung }()
			}
			if len(a.events) > 0 {
				t.Errorf("gave up early: %+v", <-a.events)
			}
			clock.Advance(welcomeTimeout)
			if l := waitFor[Lost](a); !strings.Contains(l.Err.Error(), "no welcome within 5s") {
				t.Errorf("%+v", l)
			}
			clock.Advance(shortestBackoff)
		})
	}
}

func TestGovernorThatTalksNonsense(t *testing.T) {
	tried := make(chan struct{}, 1024)
	socket := rawGovernor(t, func(conn net.Conn) {
		tried <- struct{}{}
		_, _ = conn.Write([]byte("\x00\xff HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("\xa5", 4096)))
		conn.Close()
	})
	attach(t, socket, machineClock{}, nil)
	for range 3 {
		<-tried
	}
}

func TestMessagesOutOfOrderAndUnknown(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	a := attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	p.Direct(collect(1, time.Second))
	if l := waitFor[Lost](a); !strings.Contains(l.Err.Error(), "before the welcome") {
		t.Errorf("%+v", l)
	}

	p = g.Accept()
	p.Welcome(time.Minute)
	p.Say(&pb.GovernorMessage{}) // a kind of message of a later version: ignored
	later := &pb.Directive{Id: 2, DeadlineMs: 10000}
	later.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "action"))
	for _, d := range []*pb.Directive{
		later,
		{Id: 3, DeadlineMs: 10000, Action: &pb.Directive_Release{Release: &pb.Release{Bytes: mib}}},
		{Id: 4, DeadlineMs: 10000, Action: &pb.Directive_SetReleaseMode{SetReleaseMode: &pb.SetReleaseMode{Mode: 9}}},
		{Id: 5, DeadlineMs: 10000, Action: &pb.Directive_Shed{Shed: &pb.Shed{}}},
	} {
		p.Direct(d)
		if o := p.Outcome(); o.GetId() != d.GetId() || o.GetStatus() != pb.Outcome_STATUS_DECLINED || o.GetWhy() == "" {
			t.Errorf("%v: %v", d, o)
		}
	}

	p.Say(&pb.GovernorMessage{Body: &pb.GovernorMessage_Welcome{Welcome: &pb.Welcome{
		Cgroup: strings.Repeat("x", maxMessageBytes)}}})
	waitFor[Lost](a)
	g.Accept()
}

func TestGovernorThatDoesNotReadIsLeft(t *testing.T) {
	o, err := newOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(o, newHandClock())
	a.collect = func() (heap.Work, error) { return heap.Work{}, nil }
	in := make(chan received)
	close(in)
	a.welcomed = true
	a.session = &session{in: in, out: make(chan *pb.ClientMessage, 1), cancel: func() {}}
	a.report(a.clock.Now(), a.reader.Read())
	a.report(a.clock.Now(), a.reader.Read()) // one too many: not worth a word
	if a.session == nil {
		t.Fatal("left because of a report")
	}
	a.obey(a.clock.Now(), collect(1, time.Second))
	if a.session != nil || a.welcomed || a.retryAt <= a.clock.Now() {
		t.Error("an outcome was lost in silence")
	}
}
