package heap

// Garbage collection on request, and what it cost.

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Work is what a release did and what it cost.
type Work struct {
	Before, After uint64 // resident bytes of the process
	Wall          time.Duration
	CPU           time.Duration // of this thread and of the collector's workers
}

// Then is both, one after the other.
func (w Work) Then(next Work) Work {
	if w.Before == 0 {
		return next
	}
	return Work{Before: w.Before, After: next.After, Wall: w.Wall + next.Wall, CPU: w.CPU + next.CPU}
}

// Collect collects garbage and returns all free pages to the kernel (debug.FreeOSMemory). It blocks for the length of
// a full collection; other goroutines are held up for milliseconds at most. The error says that the resident size could
// not be read; the memory was returned all the same.
func Collect() (Work, error) {
	// The collector's workers never run on a locked thread, so adding the two counts no time twice.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	before, err := Resident()
	marking, thread, start := markTime(), threadTime(), time.Now()
	debug.FreeOSMemory()
	work := Work{
		Before: before,
		Wall:   time.Since(start),
		CPU:    threadTime() - thread + markTime() - marking,
	}
	if err == nil {
		work.After, err = Resident()
	}
	return work, err
}

// markTime is the CPU time of the collector's workers so far; the runtime adds to it when a collection ends.
func markTime() time.Duration {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	seconds := 0.0
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindFloat64 {
			seconds += s.Value.Float64()
		}
	}
	return time.Duration(seconds * float64(time.Second))
}
