//go:build cgo && linux

package cgoheap

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	memgov "github.com/memgov/memgov/client/go"
	"github.com/memgov/memgov/client/go/internal/chold"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

const mib = 1 << 20

// A child is a program that knows nothing of this package: preloaded, with memory in its C heap, and C code that waits.
const childVariable = "MEMGOV_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	chold.Retain(128 * mib)
	stop, err := memgov.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	time.Sleep(200 * time.Millisecond) // the preload attaches nobody younger than 100 ms
	chold.Wait(1)
	_, _ = fmt.Scanln()
	if err := stop(); err != nil || !chold.Right() {
		fmt.Fprintln(os.Stderr, "the end:", err)
		os.Exit(2)
	}
}

// attached accepts the two clients of a process.
func attached(t *testing.T, g *testgovernor.Governor) (ours, c *testgovernor.Peer) {
	t.Helper()
	for range 2 {
		p := g.Accept()
		if strings.HasPrefix(p.Hello.GetClient(), "memgov-c ") {
			c = p
		} else {
			ours = p
		}
		p.Welcome(time.Second)
	}
	if c == nil || ours == nil || !c.Hello.GetCapabilities().GetRelease() || !strings.HasPrefix(c.Hello.GetRuntime(), "glibc") {
		t.Fatalf("%v, %v", c, ours)
	}
	return ours, c
}

func wantReleased(t *testing.T, c *testgovernor.Peer) {
	t.Helper()
	c.Direct(&pb.Directive{Id: 1, DeadlineMs: 30000, Action: &pb.Directive_Release{Release: &pb.Release{Bytes: 64 * mib}}})
	if o := c.Outcome(); o.GetStatus() != pb.Outcome_STATUS_DONE || o.GetBeforeBytes() < o.GetAfterBytes()+100*mib {
		t.Errorf("the C heap: %v", o)
	}
}

func TestAPreloadedProgramIsDrivenTwice(t *testing.T) {
	preload := filepath.Join(filepath.Dir(library(t)), "libmemgov_preload.so")
	if _, err := os.Stat(preload); err != nil {
		t.Skipf("the preload is not built (./dev build memgov_preload): %v", err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := testgovernor.Start(t, testgovernor.Socket(t))
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childVariable+"=1", "MEMGOV_SOCKET="+g.Socket, "LD_PRELOAD="+preload)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, c := attached(t, g)
	wantReleased(t, c)
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// library is libmemgov as it was built, or skips.
func library(t *testing.T) string {
	t.Helper()
	path, ok := os.LookupEnv("MEMGOV_LIBRARY")
	if !ok {
		path = filepath.Join("..", "..", "..", "build", "release", "client", "c", "libmemgov.so.0")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("libmemgov is not built (./dev build memgov_c_shared): %v", err)
	}
	return path
}

var garbage []byte

// The first test: a library that was found once is not looked for again.
func TestWithoutTheLibraryTheProgramGoesOn(t *testing.T) {
	if _, err := Start(Options{Library: "libnowhere.so.0"}); err == nil || !strings.Contains(err.Error(), "libnowhere.so.0") {
		t.Errorf("%v", err)
	}
}

func TestBothHeapsOfOneProcessAreDriven(t *testing.T) {
	libmemgov := library(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	chold.Retain(128 * mib)
	stop, err := memgov.Start(context.Background(), memgov.WithSocket(g.Socket), memgov.WithName("both"))
	if err != nil {
		t.Fatal(err)
	}
	stopC, err := Start(Options{Socket: g.Socket, Name: "both", Library: libmemgov})
	if err != nil {
		t.Fatal(err)
	}
	ours, c := attached(t, g)
	wantReleased(t, c)
	garbage = make([]byte, 128*mib)
	for page := 0; page < len(garbage); page += 4096 {
		garbage[page] = 1
	}
	garbage = nil
	for id := uint64(2); ; id++ { // it may say for a second that it has only just collected
		ours.Direct(&pb.Directive{Id: id, DeadlineMs: 30000, Level: pb.Level_LEVEL_CRITICAL,
			Action: &pb.Directive_Collect{Collect: &pb.Collect{Bytes: 1 << 40}}})
		o := ours.Outcome()
		if o.GetStatus() == pb.Outcome_STATUS_DECLINED && id < 1000 {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if o.GetStatus() != pb.Outcome_STATUS_DONE || o.GetBeforeBytes() < o.GetAfterBytes()+100*mib {
			t.Errorf("Go's heap: %v", o)
		}
		break
	}

	stopC()
	stopC()
	c.Gone()
	ours.Report(func(*pb.Report) bool { return true })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if !chold.Right() {
		t.Error("the data of the C code is wrong")
	}
}

func TestStartsAreCounted(t *testing.T) {
	libmemgov := library(t)
	g := testgovernor.Start(t, testgovernor.Socket(t))
	first, err := Start(Options{Socket: g.Socket, Library: libmemgov})
	if err != nil {
		t.Fatal(err)
	}
	second, err := Start(Options{Socket: "/elsewhere", Library: libmemgov})
	if err != nil {
		t.Fatal(err)
	}
	p := g.Accept()
	p.Welcome(100 * time.Millisecond)
	first()
	p.Report(func(*pb.Report) bool { return true })
	p.Report(func(*pb.Report) bool { return true })
	second()
	p.Gone()
	if g.Waiting() {
		t.Error("it attached twice")
	}
}

func TestWhatCannotBeIsSaid(t *testing.T) {
	libmemgov := library(t)
	if _, err := Start(Options{Socket: strings.Repeat("x", 108), Library: libmemgov}); err == nil {
		t.Error("a path that is too long was taken")
	}
}
