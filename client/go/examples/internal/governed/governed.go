// Package governed is what the examples' tests share: a process under a governor that asks for caches.
package governed

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	memgov "github.com/memgov/memgov/client/go"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

// Shed attaches this process to a governor, which asks it to shed so much, and returns how many bytes left the process.
// The outcome must say `says`.
func Shed(t *testing.T, bytes uint64, says string) (returned uint64) {
	t.Helper()
	runtime.GC() // what filling left over is not what is asked for
	g := testgovernor.Start(t, testgovernor.Socket(t))
	stop, err := memgov.Start(context.Background(), memgov.WithSocket(g.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	p := g.Accept()
	if !p.Hello.GetCapabilities().GetShed() {
		t.Errorf("hello %v", p.Hello)
	}
	p.Welcome(time.Minute)
	p.Direct(&pb.Directive{Id: 1, Level: pb.Level_LEVEL_CRITICAL, DeadlineMs: uint32(testgovernor.Patience.Milliseconds()),
		Action: &pb.Directive_Shed{Shed: &pb.Shed{Bytes: bytes}}})
	o := p.Outcome()
	if o.GetStatus() != pb.Outcome_STATUS_DONE || !strings.Contains(o.GetWhy(), says) {
		t.Fatalf("%v", o)
	}
	t.Log(o)
	if o.GetAfterBytes() > o.GetBeforeBytes() {
		return 0
	}
	return o.GetBeforeBytes() - o.GetAfterBytes()
}
