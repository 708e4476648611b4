package memgov

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

// Settings that Go reads at start-up need processes of their own: this test program, started again.
const childVariable = "MEMGOV_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

var childData [][]byte

// child keeps 200 MiB of garbage until it is told to end.
func child() {
	ending, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	stop, err := Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for range 200 {
		b := make([]byte, mib)
		for page := 0; page < len(b); page += 4096 {
			b[page] = 1
		}
		childData = append(childData, b)
	}
	runtime.GC() // all is alive now; so what is dropped is known to nobody
	childData = nil
	fmt.Println("ready")
	<-ending.Done()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// startChild returns when the process has its garbage.
func startChild(t *testing.T, g *testgovernor.Governor, env ...string) (*testgovernor.Peer, int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childVariable+"=1", "MEMGOV_SOCKET="+g.Socket)
	cmd.Env = append(cmd.Env, env...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || complaints.Len() > 0 {
			t.Errorf("the process ended with %v and said %q", err, complaints.String())
		}
	})
	p := g.Accept()
	p.Welcome(time.Second)
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil || word != "ready" {
		t.Fatalf("the process said %q, %v", word, err)
	}
	return p, cmd.Process.Pid
}

// collectByForce asks, as a governor does near a kill, until a collection has come: what was dropped right after one is
// known to nobody, so the client may decline for a second.
func collectByForce(t *testing.T, p *testgovernor.Peer) *pb.Outcome {
	t.Helper()
	for id := uint64(1); ; id++ {
		p.Direct(urgently(collect(id, testgovernor.Patience)))
		o := p.Outcome()
		if o.GetStatus() == pb.Outcome_STATUS_DONE {
			return o
		}
		if !strings.HasPrefix(o.GetWhy(), "would not pay") || id > 1000 {
			t.Fatal(o)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func residentOf(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var total, resident uint64
	if _, err := fmt.Sscan(string(text), &total, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * uint64(os.Getpagesize())
}

func TestCollectReallyReturnsMemory(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	p, pid := startChild(t, g, "GODEBUG=")
	before := residentOf(t, pid)
	o := collectByForce(t, p)
	after := residentOf(t, pid)
	if o.GetStatus() != pb.Outcome_STATUS_DONE || before-after < 190*mib {
		t.Errorf("%v; resident %d → %d MiB", o, before/mib, after/mib)
	}
	if o.GetBeforeBytes()-o.GetAfterBytes() < 190*mib {
		t.Errorf("it says %d → %d", o.GetBeforeBytes(), o.GetAfterBytes())
	}
	r := p.Report(anyReport)
	for r.GetRetainedKind() != pb.EstimateKind_ESTIMATE_KIND_EXACT {
		r = p.Report(anyReport)
	}
	if r.GetRetainedBytes() > 8*mib || r.GetLazilyFreedBytes() != 0 {
		t.Errorf("afterwards %v", r)
	}
}

func TestLazyStartIsReported(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	p, _ := startChild(t, g, "GODEBUG=madvdontneed=0")
	if p.Hello.GetStartupReleaseMode() != pb.ReleaseMode_RELEASE_MODE_LAZY {
		t.Errorf("hello %v", p.Hello)
	}
	collectByForce(t, p)
	p.Report(func(r *pb.Report) bool {
		return r.GetReleaseMode() == pb.ReleaseMode_RELEASE_MODE_LAZY && r.GetLazilyFreedBytes() > 150*mib
	})
}

func TestGOMEMLIMITWins(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	for _, value := range []string{"1GiB", "off"} {
		p, _ := startChild(t, g, "GOMEMLIMIT="+value)
		p.Direct(softLimit(1, 512*mib, time.Minute))
		o := p.Outcome()
		if o.GetStatus() != pb.Outcome_STATUS_DECLINED || !strings.Contains(o.GetWhy(), "GOMEMLIMIT") {
			t.Errorf("GOMEMLIMIT=%s: %v", value, o)
		}
		r := p.Report(anyReport)
		if value == "1GiB" && r.GetSoftLimitBytes() != 1<<30 || value == "off" && r.SoftLimitBytes != nil {
			t.Errorf("GOMEMLIMIT=%s: %v", value, r)
		}
	}
}

func TestStopUndoesTheLimit(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	stop := begin(t, context.Background(), WithSocket(g.Socket))
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1<<30, time.Hour))
	p.Outcome()
	reader := heap.NewReader()
	if got := reader.Read().SoftLimit; got != 1<<30 {
		t.Errorf("the limit is %d", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := reader.Read().SoftLimit; got != heap.NoLimit {
		t.Errorf("after stop the limit is %d", got)
	}
}

var grown [][]byte

// A program whose live data grow far beyond the limit is not held back by it: the limit follows, or is lifted.
func TestAHeapThatGrowsIsNotStrangled(t *testing.T) {
	needsNoLimit(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	attach(t, g.Socket, machineClock{}, nil)
	p := g.Accept()
	p.Welcome(time.Minute)
	p.Direct(softLimit(1, 1, time.Minute))
	if o := p.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE {
		t.Fatal(o)
	}
	defer func() { grown = nil }()
	for range 256 * 16 {
		grown = append(grown, make([]byte, mib/16))
	}
	runtime.GC() // it sees that all of it is alive
	reader := heap.NewReader()
	eventually(t, "the limit has made room", func() bool {
		s := reader.Read()
		return s.SoftLimit >= 256*mib*6/5
	})
}
