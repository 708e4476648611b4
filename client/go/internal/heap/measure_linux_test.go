package heap

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What the ways of returning free spans bring and cost. With MEMGOV_MEASURE=1, each in a process of its own:
//
//	MEMGOV_MEASURE=1 go test -count=1 -v -run 'TestMeasureReleasing/...' ./internal/heap
func TestMeasureReleasing(t *testing.T) {
	if os.Getenv("MEMGOV_MEASURE") == "" {
		t.Skip("MEMGOV_MEASURE is not set")
	}
	r := NewReader()
	ways := map[string]func(l *SoftLimit){
		"background": func(*SoftLimit) { time.Sleep(10 * time.Second) },
		"limit":      func(*SoftLimit) { defer debug.SetMemoryLimit(debug.SetMemoryLimit(1)); time.Sleep(time.Second) },
		"release": func(l *SoftLimit) {
			if _, _, err := l.ReleaseFree(r, never); err != nil {
				t.Error(err)
			}
		},
		"collect": func(*SoftLimit) { _, _ = Collect() },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			alive := linked(256 << 20)
			held := freeSpans(0, 1024)
			stop, worst := allocating()
			before, s := residentNow(t), r.Read()
			cpu, start := processCPU(), time.Now()
			way(NewSoftLimit(debug.SetMemoryLimit, Startup))
			wall, spent := time.Since(start), processCPU()-cpu
			after, e := residentNow(t), r.Read()
			stop()
			fmt.Printf("%s %s: live %d MiB, free %d MiB; resident %d -> %d MiB, wall %v, CPU %v (of the process), collections %d, worst allocation %v\n",
				runtime.Version(), name, s.Live>>20, s.Free>>20, before>>20, after>>20, wall.Round(100*time.Microsecond),
				spent.Round(100*time.Microsecond), e.Cycles-s.Cycles, time.Duration(worst.Load()).Round(10*time.Microsecond))
			runtime.KeepAlive(alive)
			runtime.KeepAlive(held)
			debug.FreeOSMemory()
		})
	}
}

type node struct {
	next *node
	_    [6]uintptr
}

// linked is a live heap of small objects with pointers, which a collection has to walk.
func linked(bytes int) (list *node) {
	for range bytes / 64 {
		list = &node{next: list}
	}
	return list
}

// allocating allocates all the time on a goroutine of its own, and notes the longest that one allocation took.
func allocating() (stop func(), worst *atomic.Int64) {
	worst = &atomic.Int64{}
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ending:
				return
			case <-time.After(time.Millisecond):
			}
			start := time.Now()
			keepOne = make([]byte, 64<<10)
			worst.Store(max(worst.Load(), int64(time.Since(start))))
		}
	}()
	return func() { close(ending); <-ended }, worst
}

var keepOne []byte

func residentNow(t *testing.T) uint64 {
	bytes, err := Resident()
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func processCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
