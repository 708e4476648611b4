// goscenes plays the ways in which a Go service comes to hold memory that it does not need, or to need more than there
// is. One scene a subcommand:
//
//	goscenes hold -kind drop|scattered|channel|map|burst -size 200MiB
//	goscenes slice -size 1GiB -rounds 4 -fill 2s -grow 1
//	goscenes leak -rate 4MiB -churn 64MiB
//	goscenes steady -size 50MiB -rate 100
//
// All link the governor's client by its one import and say nothing of memory to the runtime.
//
// stdout, one JSON object a line; what each scene says stands with it. All data carries its seed and is verified: the exit
// status is 0 only when all of it was right.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"

	_ "github.com/memgov/memgov/client/go/auto"
)

func main() {
	scenes := map[string]func(arguments []string, ending <-chan os.Signal) (errs int){
		"hold": hold, "slice": slice, "leak": leak, "steady": steady,
	}
	if len(os.Args) < 2 || scenes[os.Args[1]] == nil {
		fatal(fmt.Errorf("usage: goscenes hold|slice|leak|steady [-flag ...]"))
	}
	serveDebug()
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM, syscall.SIGINT)
	if scenes[os.Args[1]](os.Args[2:], ending) > 0 {
		os.Exit(1)
	}
}

func parse(flags *flag.FlagSet, arguments []string) {
	if err := flags.Parse(arguments); err != nil {
		fatal(err)
	}
	if flags.NArg() > 0 {
		fatal(fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
}

// say prints one line, with what is always worth knowing.
func say(line map[string]any) {
	line["rss_mib"] = mib(residentBytes())
	text, err := json.Marshal(line)
	if err != nil {
		fatal(err)
	}
	_, _ = os.Stdout.Write(append(text, '\n')) // a reader that went away does not end the scene
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "goscenes:", err)
	os.Exit(2)
}

func mib(bytes uint64) float64 { return float64(bytes*10>>20) / 10 }

// residentBytes reads /proc/self/statm.
func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fatal(err)
	}
	var total, resident uint64
	if _, err := fmt.Sscan(string(text), &total, &resident); err != nil {
		fatal(err)
	}
	return resident * uint64(os.Getpagesize())
}

// cpuSeconds is what collections took since the start, what this process used, and what it might have used (GOMAXPROCS
// processors all the time). Collecting on processors that were idle otherwise is no waste, and not counted. The runtime
// adds to its clocks when a collection ends.
func cpuSeconds() (collecting, used, available float64) {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	at := func(i int) float64 { return samples[i].Value.Float64() }
	return at(0) - at(1), at(2) - at(3) - at(1), time.Since(started).Seconds() * float64(runtime.GOMAXPROCS(0))
}

var started = time.Now()

func number(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
