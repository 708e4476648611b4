package memgov

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

func TestMessagesAndBytesAtOnceThenSoManyASecond(t *testing.T) {
	var b bounds
	now := time.Hour
	for _, n := range []int{messagesAtOnce, messagesASecond} {
		for i := range n {
			if !b.takeMessage(now) {
				t.Fatalf("message %d of %d", i, n)
			}
		}
		if b.takeMessage(now) {
			t.Errorf("more than %d", n)
		}
		now += time.Second
	}
	for _, n := range []int{bytesAtOnce, bytesASecond} {
		if !b.takeBytes(n, now) || b.takeBytes(1, now) {
			t.Errorf("%d bytes", n)
		}
		now += time.Second
	}
}

// governor/core/ledger.cc: a rest of 20 times what a request took, or 4 times where time is short, at most the policy's
// cooldown (5 s by default).
func TestAnHonestGovernorIsNeverTooSoon(t *testing.T) {
	for _, took := range []time.Duration{time.Millisecond, 30 * time.Millisecond, time.Second, 2 * time.Second, 8 * time.Second} {
		for _, rest := range []time.Duration{min(4*took, 5*time.Second), min(20*took, 5*time.Second)} {
			var b bounds
			for now := time.Hour; now < time.Hour+time.Minute; now += took + rest {
				if !b.mayWork(now) {
					t.Fatalf("%v with rests of %v: declined after %v", took, rest, now-time.Hour)
				}
				b.worked(took, now)
			}
		}
	}
}

func TestWhoAsksWithoutRestGetsAQuarterOfTheTime(t *testing.T) {
	var b bounds
	var worked time.Duration
	for now := time.Hour; now < time.Hour+time.Minute; now += time.Millisecond {
		if b.mayWork(now) {
			b.worked(5*time.Millisecond, now)
			worked += 5 * time.Millisecond
			now += 5 * time.Millisecond
		}
	}
	if most := 18 * time.Second; worked > most || worked < 15*time.Second {
		t.Errorf("%v of a minute", worked)
	}
}

func TestOneRequestAtATime(t *testing.T) {
	r := request{came: time.Second, deadline: 2 * time.Second, ended: 9 * time.Second}
	for at, want := range map[time.Duration]bool{2 * time.Second: true, 5*time.Second - 1: true,
		5 * time.Second: false, // given up by then
		9 * time.Second: false} {
		if r.underWay(at) != want {
			t.Errorf("%v", at)
		}
	}
	r.deadline = 0
	if !r.underWay(9*time.Second-1) || r.underWay(9*time.Second) {
		t.Error("without a deadline")
	}
}

func TestTooSoonIsDeclined(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	attach(t, g.Socket, clock, func(a *agent) {
		collecting(a)
		a.collect = func() (heap.Work, error) { clock.Advance(time.Second); return heap.Work{}, nil }
	})
	p := g.Accept()
	p.Welcome(time.Minute)
	for id, want := range []pb.Outcome_Status{pb.Outcome_STATUS_DONE, pb.Outcome_STATUS_DONE, pb.Outcome_STATUS_DONE,
		pb.Outcome_STATUS_DECLINED} {
		p.Direct(urgently(collect(uint64(id+1), time.Minute)))
		if o := p.Outcome(); o.GetStatus() != want {
			t.Errorf("%d: %v", id, o)
		}
	}
	clock.Advance(time.Second * 4)
	p.Direct(urgently(collect(9, time.Minute)))
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Errorf("after a rest: %v", o)
	}
}

func TestALimitLastsAnHourAtMost(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	clock := newHandClock()
	a := attach(t, g.Socket, clock, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(&pb.Directive{Id: 1, TtlMs: 1<<32 - 1, Action: &pb.Directive_SetSoftLimit{SetSoftLimit: &pb.SetSoftLimit{Bytes: 1 << 40}}})
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Fatal(o)
	}
	clock.Advance(time.Hour)
	waitFor[SoftLimitEnded](a)
}

// frames is what a peer sends that begins as a governor does.
func frames(t *testing.T, more func(*http2.Framer)) []byte {
	var out bytes.Buffer
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for _, field := range []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}} {
		if err := encoder.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	f := http2.NewFramer(&out, nil)
	write := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	write(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header.Bytes(), EndHeaders: true}))
	write(f.WriteData(1, false, grpcMessage(t, &pb.GovernorMessage{Body: &pb.GovernorMessage_Welcome{
		Welcome: &pb.Welcome{Enforcing: true}}})))
	more(f)
	return out.Bytes()
}

// awaitCall reads until the client has opened its call: what comes before belongs to none.
func awaitCall(conn net.Conn) bool {
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
		return false
	}
	for f := http2.NewFramer(io.Discard, conn); ; {
		frame, err := f.ReadFrame()
		if err != nil || frame.Header().Type == http2.FrameHeaders {
			return err == nil
		}
	}
}

func grpcMessage(t *testing.T, m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
}

func TestAGovernorThatFloodsIsLeftForAWhile(t *testing.T) {
	directive := grpcMessage(t, &pb.GovernorMessage{Body: &pb.GovernorMessage_Directive{
		Directive: &pb.Directive{Id: 7, Action: &pb.Directive_Collect{Collect: &pb.Collect{Bytes: 1}}}}})
	for name, flood := range map[string]func(*http2.Framer){
		"messages": func(f *http2.Framer) { _ = f.WriteData(1, false, directive) },
		"pings":    func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{}) },
		"settings": func(f *http2.Framer) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70000})
		},
		"nothing": func(f *http2.Framer) { _ = f.WriteData(1, false, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			sent := frames(t, func(f *http2.Framer) {
				for range 40000 {
					flood(f)
				}
			})
			socket := rawGovernor(t, func(conn net.Conn) {
				defer conn.Close()
				if http2.NewFramer(conn, conn).WriteSettings() != nil || !awaitCall(conn) {
					return
				}
				go func() { _, _ = conn.Write(sent) }()
				_, _ = io.Copy(io.Discard, conn)
			})
			clock := newHandClock()
			a := attach(t, socket, clock, func(a *agent) { a.collect = func() (heap.Work, error) { return heap.Work{}, nil } })
			l := waitFor[Lost](a)
			if !errors.Is(l.Err, errFlood) {
				t.Fatalf("%+v", l)
			}
			if err := a.stop(); err != nil {
				t.Fatal(err)
			}
			if wait := a.retryAt - clock.Now(); wait < refusedBackoff/2 || wait > refusedBackoff {
				t.Errorf("the next attempt comes in %v", wait)
			}
		})
	}
}
