package main

// Steady: the service holds -size of live data and needs it all. It serves requests at a steady rate; each waits for
// another service, makes some garbage, and reads some of the data. Its requests come at times that are fixed beforehand: a
// stall delays all that came due meanwhile.
//
// It says {"ready":true}, and at the end {"final":true,"errors":N,"answered":N,"busy_s":S,"late":N,"forced":N,
// "collections":N,"latencies_us":[...]}. "forced" are the collections that somebody asked for.

import (
	"bytes"
	"flag"
	"math/rand"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	steadyBlock   = 64 << 10
	steadyGarbage = 4 // blocks for each request
	steadyReads   = 8
	steadyBackend = 4 * time.Millisecond
	steadyLate    = 50 * time.Millisecond
)

func steady(arguments []string, ending <-chan os.Signal) (errs int) {
	flags := flag.NewFlagSet("steady", flag.ExitOnError)
	bytes := size(50 << 20)
	flags.Var(&bytes, "size", "of the live data")
	rate := flags.Int("rate", 100, "requests a second")
	parse(flags, arguments)

	data := make([][]byte, 0, bytes/steadyBlock)
	for n := uint64(0); n < uint64(bytes)/steadyBlock; n++ {
		data = append(data, newBlock(steadyBlock, n))
	}
	say(map[string]any{"ready": true})

	clock := newThreadTime()
	random := rand.New(rand.NewSource(1))
	start, period := clock.now(), time.Second/time.Duration(*rate)
	var busy time.Duration
	var late int
	latencies := make([]int64, 0, 1<<16)
	for {
		due := start + time.Duration(len(latencies)+1)*period
		begin := clock.now()
		for begin < due {
			nap(due - begin)
			begin = clock.now()
		}
		select {
		case <-ending:
			say(map[string]any{"final": true, "errors": errs, "answered": len(latencies), "busy_s": busy.Seconds(), "late": late,
				"forced": number("/gc/cycles/forced:gc-cycles"), "collections": number("/gc/cycles/total:gc-cycles"),
				"latencies_us": latencies})
			return errs
		default:
		}
		errs += serveOne(data, random)
		end := clock.now()
		busy += end - begin
		latencies = append(latencies, (end - due).Microseconds())
		if end-due > steadyLate {
			late++
		}
	}
}

// serveOne returns the number of blocks that were wrong.
func serveOne(data [][]byte, random *rand.Rand) (errs int) {
	nap(steadyBackend)
	for i := 0; i < steadyGarbage; i++ {
		if !isRight(newBlock(steadyBlock, random.Uint64())) {
			errs++
		}
	}
	for i := 0; i < steadyReads; i++ {
		if !isRight(data[random.Intn(len(data))]) {
			errs++
		}
	}
	return errs
}

// threadTime stands still while its thread is ready to run and has no processor: the machine has other work.
type threadTime struct{ schedstat *os.File }

// newThreadTime is of the calling goroutine's thread, which it keeps.
func newThreadTime() threadTime {
	runtime.LockOSThread()
	file, err := os.Open("/proc/thread-self/schedstat")
	if err != nil {
		fatal(err)
	}
	return threadTime{file}
}

func (t threadTime) now() time.Duration {
	var text [96]byte
	n, _ := syscall.Pread(int(t.schedstat.Fd()), text[:], 0)
	queued := time.Duration(0) // the second number of the line, in ns
	if fields := bytes.Fields(text[:max(n, 0)]); len(fields) >= 2 {
		for _, digit := range fields[1] {
			queued = queued*10 + time.Duration(digit-'0')
		}
	}
	return time.Since(started) - queued
}

// nap waits on the thread itself: the runtime's timers would wake another.
func nap(wait time.Duration) {
	timespec := syscall.NsecToTimespec(wait.Nanoseconds())
	_ = syscall.Nanosleep(&timespec, nil) // a signal ends it early; who needs more waits again
}
