package heap

// Free spans go back to the kernel without a collection.

import (
	"runtime"
	"time"
)

// The runtime returns free spans in three ways: debug.FreeOSMemory does it, after a full collection; a background
// goroutine does it, at a hundredth of a CPU; and who allocates a span while the process is above the soft memory limit
// does it there and then, for as much as the process is above. ReleaseFree makes use of the third: it lowers the limit
// below what the process has, allocates, and puts the limit back, a slice at a time.
const (
	// Another goroutine that allocates meanwhile helps, and is held up as long: 64 MiB are 5 to 8 ms.
	sliceBytes = 16 << 20
	leastSlice = 1 << 20
	// More than any span of small objects, so that it needs one of its own.
	probeBytes = 40 << 10
	// The runtime keeps so much room below its limit: 3 % of the heap, or 1 MiB.
	headroomDivisor = 32
	leastHeadroom   = 1 << 20
	// Others may allocate so much within a slice's time.
	allocatedMeanwhile = 4 << 20
)

// ReleaseFree returns free spans to the kernel, without a collection, until there are no more or late says so, and
// returns how many bytes. It leaves what a collection needs as room (about a thirtieth of the heap, and 5 MiB). The
// error says why it did nothing: a limit or a mode of the user's stands in its way.
func (l *SoftLimit) ReleaseFree(r *Reader, late func() bool) (Work, uint64, error) {
	runtime.LockOSThread() // the CPU time is the thread's
	defer runtime.UnlockOSThread()
	var released uint64
	before, err := Resident()
	if err != nil {
		return Work{}, 0, err
	}
	thread, start := threadTime(), time.Now()
	for !late() {
		s := r.Read()
		if err := l.notOurs(s); err != nil {
			return Work{}, released, err
		}
		slice := sliceOf(s)
		if slice == 0 {
			break
		}
		l.squeeze(s, slice)
		gone := minus(r.Read().Released, s.Released)
		released += gone
		if gone < slice/2 {
			break // the rest is not to be had, or the GC CPU limiter engaged
		}
	}
	work := Work{Before: before, Wall: time.Since(start), CPU: threadTime() - thread}
	work.After, err = Resident()
	return work, released, err
}

// sliceOf is how far the limit may go below what the process has without bringing the next collection forward.
//
// With a limit so far below, the runtime's heap goal is the free spans and the objects less twice as much, less its
// headroom; and it begins a collection no earlier than at 0.7 of the way from what the last one marked to that goal.
// (runtime/mgcpacer.go: memoryLimitHeapGoal, trigger; the same from Go 1.22 to 1.26.)
func sliceOf(s Sample) uint64 {
	allocatedSince := minus(s.Objects, s.Live)
	needs := s.Live + 3*(allocatedSince+allocatedMeanwhile)/2 + max((s.Free+s.Objects)/headroomDivisor, leastHeadroom)
	slice := min(minus(s.Free+s.Objects, needs)/2, minus(s.Free, leastHeadroom), sliceBytes)
	if slice < leastSlice {
		return 0
	}
	return slice
}

// squeeze lowers the limit for the time of one allocation. What the program sets meanwhile stays.
func (l *SoftLimit) squeeze(s Sample, slice uint64) {
	squeezed := int64(s.Total - s.Released - slice)
	was := l.set(squeezed)
	if was == int64(s.SoftLimit) {
		runtime.KeepAlive(make([]byte, probe))
	}
	if now := l.set(was); now != squeezed {
		l.set(now)
		if l.inForce != 0 {
			was = l.before
		}
		l.stray, l.inForce = stray{limit: squeezed, before: was}, 0
	}
}

// probe is a variable so that the compiler cannot put what has its size on the stack.
var probe = probeBytes
