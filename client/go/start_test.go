package memgov

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

func begin(t *testing.T, ctx context.Context, opts ...Option) func() error {
	t.Helper()
	stop, err := Start(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestSeveralStartsAreOne(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	t.Setenv("MEMGOV_SOCKET", g.Socket)
	ctx, cancel := context.WithCancel(context.Background())
	first := begin(t, context.Background())
	second := begin(t, context.Background(), WithSocket("/elsewhere"))
	begin(t, ctx)
	p := g.Accept()
	p.Welcome(shortestReportEvery)
	p.Report(anyReport)

	for range 2 { // stopping twice counts once
		if err := first(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	p.Report(anyReport)
	p.Report(anyReport)
	if g.Waiting() {
		t.Error("a second process attached")
	}
	if err := second(); err != nil {
		t.Error(err)
	}
	p.Gone()

	begin(t, context.Background())
	g.Accept()
}

func TestEndOfTheContextStops(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	ctx, cancel := context.WithCancel(context.Background())
	begin(t, ctx, WithSocket(g.Socket))
	p := g.Accept()
	cancel()
	p.Gone()
	if _, err := Start(ctx); err == nil {
		t.Error("started with a context that is over")
	}
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	stop := begin(t, context.Background(), WithSocket(g.Socket))
	p := g.Accept()
	p.Welcome(time.Second)
	p.Report(anyReport)
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, ours := range []string{"memgov.(*agent)", "memgov.(*session)", "memgov.openSession"} {
		if strings.Contains(stacks(), ours) {
			t.Errorf("%s runs after stop:\n%s", ours, stacks())
		}
	}
	eventually(t, "gRPC's goroutines end", func() bool { return !strings.Contains(stacks(), "http2Client") })
}

func stacks() string {
	text := make([]byte, 1<<20)
	return string(text[:runtime.Stack(text, true)])
}

func TestTurnedOff(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	t.Setenv("MEMGOV_DISABLE", "1")
	stop := begin(t, context.Background(), WithSocket(g.Socket))
	if strings.Contains(stacks(), "memgov.(*agent)") {
		t.Error("an agent runs")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	t.Setenv("MEMGOV_SOCKET", "")
	if o, err := newOptions(nil); err != nil || o.socket != defaultSocket || o.name != "go.test" || o.logger == nil {
		t.Errorf("defaults: %+v, %v", o, err)
	}
	t.Setenv("MEMGOV_SOCKET", "/env")
	if o, err := newOptions(nil); err != nil || o.socket != "/env" {
		t.Errorf("MEMGOV_SOCKET: %+v, %v", o, err)
	}
	if o, err := newOptions([]Option{WithSocket("/option")}); err != nil || o.socket != "/option" {
		t.Errorf("WithSocket: %+v, %v", o, err)
	}
	if o, _ := newOptions([]Option{WithName("a\xff" + strings.Repeat("é", 40))}); len(o.name) > longestName ||
		!strings.HasPrefix(o.name, "aé") {
		t.Errorf("name %q", o.name)
	}
	for _, path := range []string{"", strings.Repeat("x", longestSocket+1)} {
		if _, err := Start(context.Background(), WithSocket(path)); err == nil {
			t.Errorf("socket %.10q was taken", path)
		}
	}
	for value, want := range map[string]bool{"": false, "0": false, "false": false, "1": true, "true": true, "yes": true} {
		if disabled(value) != want {
			t.Errorf("MEMGOV_DISABLE=%q: %v", value, disabled(value))
		}
	}
}
