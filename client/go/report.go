package memgov

// What this process says of itself: the Hello, and the state of its heap.

import (
	"runtime"
	"time"

	"github.com/memgov/memgov/client/go/internal/heap"
	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

func (a *agent) hello() *pb.Hello {
	return &pb.Hello{
		Runtime: text(runtime.Version(), longestName),
		Client:  "memgov-go " + Version,
		Name:    a.name,
		Capabilities: &pb.Capabilities{
			Collect:      true,
			SetSoftLimit: true,
			Shed:         a.toldShed,
			StallClass:   pb.StallClass_STALL_CLASS_MEDIUM,
		},
		StartupReleaseMode: releaseMode(),
	}
}

// report tells the governor the state of the heap. A report that finds the queue full is not worth waiting for; an
// outcome that does ends the session.
func (a *agent) report(now time.Duration, s heap.Sample) {
	a.nextReport = now + a.reportEvery
	retained, kind := s.Retained(now - a.cycleAt)
	a.lastRetained = retained
	share := a.share.Next(s)
	r := &pb.Report{
		LiveBytes:     s.LiveBytes(),
		RetainedBytes: retained,
		RetainedKind:  estimateKind(kind),
		NonHeapBytes:  s.NonHeap(),
		GcCpuFraction: &share,
		ReleaseMode:   releaseMode(),
	}
	if s.SoftLimit != heap.NoLimit {
		limit := s.SoftLimit
		r.SoftLimitBytes = &limit
	}
	if heap.Startup.LazyRelease() {
		r.LazilyFreedBytes = lazilyFreed(s)
	}
	a.session.send(&pb.ClientMessage{Body: &pb.ClientMessage_Report{Report: r}})
}

// lazilyFreed is an upper bound: released address space counts what was never touched, resident memory what is in use.
func lazilyFreed(s heap.Sample) uint64 {
	resident, err := heap.Resident()
	if err != nil || resident < s.Objects {
		return 0
	}
	return min(s.Released, resident-s.Objects)
}

func releaseMode() pb.ReleaseMode {
	if heap.Startup.LazyRelease() {
		return pb.ReleaseMode_RELEASE_MODE_LAZY
	}
	return pb.ReleaseMode_RELEASE_MODE_EAGER
}

func estimateKind(k heap.Kind) pb.EstimateKind {
	switch k {
	case heap.Exact:
		return pb.EstimateKind_ESTIMATE_KIND_EXACT
	case heap.Bound:
		return pb.EstimateKind_ESTIMATE_KIND_BOUND
	default:
		return pb.EstimateKind_ESTIMATE_KIND_NONE
	}
}
