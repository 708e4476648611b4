// idle is a Go program that does nothing, for measuring what the client adds to one. Build tags choose what it links:
//
//	go build ./idle                    nothing
//	go build -tags memgov ./idle       the client, by its one import
//	go build -tags grpc ./idle         gRPC with a server and a connection of its own, as many services have
//	go build -tags grpc,memgov ./idle  both
//
// It prints one JSON object a second: resident and anonymous MiB, threads, goroutines, CPU milliseconds until main and so far,
// and what was allocated.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/metrics"
	"strings"
	"syscall"
	"time"
)

func main() {
	started := cpuTime()
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM, syscall.SIGINT)
	second := time.NewTicker(time.Second)
	for {
		select {
		case <-ending:
			return
		case <-second.C:
			say(started)
		}
	}
}

func say(started time.Duration) {
	status := procStatus()
	allocations := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(allocations)
	line, err := json.Marshal(map[string]any{
		"rss_mib": status["VmRSS"] / 1024, "anon_mib": status["RssAnon"] / 1024, "threads": status["Threads"],
		"goroutines": runtime.NumGoroutine(), "cpu_ms": ms(cpuTime()), "start_cpu_ms": ms(started),
		"allocated_kib": allocations[0].Value.Uint64() >> 10,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// procStatus reads the numbers of /proc/self/status; sizes are in KiB.
func procStatus() map[string]float64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		panic(err)
	}
	defer file.Close()
	numbers := map[string]float64{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		var n float64
		if _, err := fmt.Sscan(rest, &n); err == nil {
			numbers[name] = n
		}
	}
	return numbers
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
