// Package testgovernor is the other side of the stream for tests: a governor on a Unix socket that says what the test
// tells it to.
package testgovernor

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

// Patience is how long to wait for what must come. Only a failing test waits so long.
const Patience = 30 * time.Second

// Governor accepts any number of processes.
type Governor struct {
	pb.UnimplementedSessionServer
	Socket string
	t      testing.TB
	server *grpc.Server
	peers  chan *Peer
	ending chan struct{}
}

// Peer is one attached process.
type Peer struct {
	Hello    *pb.Hello
	t        testing.TB
	stream   pb.Session_AttachServer
	messages chan *pb.ClientMessage
	verdict  chan error // what Attach returns
}

// Socket returns a path for a socket that the test owns.
func Socket(t testing.TB) string { return filepath.Join(t.TempDir(), "s") }

// Start serves on the socket until Stop or the end of the test.
func Start(t testing.TB, socket string) *Governor {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := &Governor{
		Socket: socket, t: t, server: grpc.NewServer(), peers: make(chan *Peer, 16), ending: make(chan struct{}),
	}
	pb.RegisterSessionServer(g.server, g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = g.server.Serve(listener)
	}()
	t.Cleanup(func() {
		g.Stop()
		<-served
	})
	return g
}

// Stop ends all streams as a governor that dies does.
func (g *Governor) Stop() {
	select {
	case <-g.ending:
	default:
		close(g.ending)
	}
	g.server.Stop()
}

// Attach is the service's one method.
func (g *Governor) Attach(stream pb.Session_AttachServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	p := &Peer{
		Hello: first.GetHello(), t: g.t, stream: stream,
		messages: make(chan *pb.ClientMessage, 1024), verdict: make(chan error, 1),
	}
	go func() {
		defer close(p.messages)
		for {
			m, err := stream.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					select {
					case p.verdict <- err:
					default:
					}
				}
				return
			}
			p.messages <- m
		}
	}()
	g.peers <- p
	select {
	case err := <-p.verdict:
		return err
	case <-g.ending:
		return nil
	}
}

// Accept waits for the next process that says hello.
func (g *Governor) Accept() *Peer {
	g.t.Helper()
	select {
	case p := <-g.peers:
		if p.Hello == nil {
			g.t.Fatal("the first message was no Hello")
		}
		return p
	case <-time.After(Patience):
		g.t.Fatal("no process attached")
		return nil
	}
}

// Waiting tells whether a process attached that was not accepted yet.
func (g *Governor) Waiting() bool { return len(g.peers) > 0 }

// Welcome welcomes the process.
func (p *Peer) Welcome(reportEvery time.Duration) {
	p.t.Helper()
	p.Say(&pb.GovernorMessage{Body: &pb.GovernorMessage_Welcome{Welcome: &pb.Welcome{
		Cgroup: "/test", Enforcing: true, ReportEveryMs: uint32(reportEvery.Milliseconds()), Governor: "test",
	}}})
}

// Direct sends a directive.
func (p *Peer) Direct(d *pb.Directive) {
	p.t.Helper()
	p.Say(&pb.GovernorMessage{Body: &pb.GovernorMessage_Directive{Directive: d}})
}

// Say sends any message.
func (p *Peer) Say(m *pb.GovernorMessage) {
	p.t.Helper()
	if err := p.stream.Send(m); err != nil {
		p.t.Fatal(err)
	}
}

// End ends the stream with a status.
func (p *Peer) End(err error) { p.verdict <- err }

// Outcome waits for the next outcome.
func (p *Peer) Outcome() *pb.Outcome {
	p.t.Helper()
	for {
		if o := p.next("an outcome").GetOutcome(); o != nil {
			return o
		}
	}
}

// Report waits for a report of which wanted holds.
func (p *Peer) Report(wanted func(*pb.Report) bool) *pb.Report {
	p.t.Helper()
	for {
		if r := p.next("a report").GetReport(); r != nil && wanted(r) {
			return r
		}
	}
}

// Gone waits for the end of what the process says.
func (p *Peer) Gone() {
	p.t.Helper()
	deadline := time.After(Patience)
	for {
		select {
		case _, open := <-p.messages:
			if !open {
				return
			}
		case <-deadline:
			p.t.Fatal("the process is still attached")
		}
	}
}

func (p *Peer) next(what string) *pb.ClientMessage {
	p.t.Helper()
	select {
	case m, open := <-p.messages:
		if !open {
			p.t.Fatalf("the stream ended before %s", what)
		}
		return m
	case <-time.After(Patience):
		p.t.Fatalf("%s did not come", what)
	}
	return nil
}
