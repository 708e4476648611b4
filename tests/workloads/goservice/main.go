// goservice is a service as many are: it grew, dropped nine tenths of its data, and Go's runtime keeps the pages.
//
// It fills a cache until it is as large as -grow, drops all but -keep of it, and from then on looks records up, 50 a
// second, and verifies their checksums. Nothing of that is unusual, and nothing of it makes the runtime give memory back
// soon: so little is allocated that no collection comes for two minutes, and then the background scavenger takes its
// time.
//
// stdout, one JSON object a line: {"ready":true,...} after the drop, {"work_done":N,...} once a second, what the governor
// asked ({"memgov":"received",...}; "t" is CLOCK_MONOTONIC in seconds), and the totals on SIGTERM. Exit status 0 only when
// all data was right.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	memgov "github.com/memgov/memgov/client/go"
)

type settings struct {
	grow      size
	keep      percent
	scattered bool
	memgov    bool
	freed     bool
}

func main() {
	set := parse()
	if set.memgov {
		stop, err := memgov.Start(context.Background(), memgov.WithObserver(sayEvent))
		if err != nil {
			fatal(err)
		}
		defer stop()
	}
	if errs := serve(set); errs > 0 {
		os.Exit(1)
	}
}

func parse() settings {
	set := settings{grow: 300 << 20, keep: 0.1}
	pattern, client := choice{"runs", "scattered"}, choice{"auto", "off"}
	flag.Var(&set.grow, "grow", "resident size to grow to")
	flag.Var(&set.keep, "keep", "share of the data that stays")
	flag.Func("pattern", "which data stays: runs (default) or scattered", pattern.set)
	flag.Func("memgov", "attach to the governor: auto (default) or off", client.set)
	flag.BoolVar(&set.freed, "freed", false, "collect and free the dropped data before \"ready\"; with\n"+
		"GODEBUG=madvdontneed=0, as Go 1.12 to 1.15 did, its pages are then lazily freed")
	flag.Parse()
	if flag.NArg() > 0 {
		fatal(fmt.Errorf("unexpected argument %q", flag.Arg(0)))
	}
	set.scattered, set.memgov = pattern[0] == "scattered", client[0] == "auto"
	return set
}

// serve returns the number of wrong records.
func serve(set settings) uint64 {
	ending, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	var data store
	data.grow(uint64(set.grow))
	grown := residentBytes()
	data.drop(float64(set.keep), set.scattered)
	if set.freed {
		debug.FreeOSMemory()
	}
	say(map[string]any{"ready": true, "rss_mib": mib(residentBytes()), "grown_mib": mib(grown),
		"live_mib": mib(data.bytes), "pid": os.Getpid()})

	done, errs := work(ending, &data)
	for _, r := range data.records { // whatever the end of the run did, all of it must still be right
		if !r.right() {
			errs++
		}
	}
	say(map[string]any{"final": true, "work_done": done, "errors": errs, "live_mib": mib(data.bytes),
		"rss_mib": mib(residentBytes())})
	return errs
}

// work looks records up until ending is over.
func work(ending context.Context, data *store) (done, errs uint64) {
	lookup := time.NewTicker(time.Second / 50)
	defer lookup.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ending.Done():
			return done, errs
		case <-lookup.C:
			// A prime step visits all records in turn, out of order.
			if n := uint64(len(data.records)); n > 0 && !data.records[done*7919%n].right() {
				errs++
			}
			done++
		case <-second.C:
			say(map[string]any{"work_done": done, "errors": errs, "rss_mib": mib(residentBytes())})
		}
	}
}

// sayEvent prints what went on between the client and the governor, with the names of the protocol's fields.
func sayEvent(event memgov.Event) {
	switch e := event.(type) {
	case memgov.Welcomed:
		say(map[string]any{"memgov": "welcomed", "t": e.At.Seconds(), "cgroup": e.Cgroup, "container": e.Container,
			"enforcing": e.Enforcing})
	case memgov.Received:
		say(map[string]any{"memgov": "received", "t": e.At.Seconds(), "id": e.ID, "action": e.Action, "bytes": e.Bytes,
			"level": e.Level, "reason": e.Reason})
	case memgov.Done:
		say(map[string]any{"memgov": "done", "t": e.At.Seconds(), "id": e.ID, "action": e.Action, "status": e.Status,
			"why": e.Why, "before_mib": mib(e.Before), "after_mib": mib(e.After), "wall_ms": ms(e.Wall), "cpu_ms": ms(e.CPU)})
	case memgov.SoftLimitEnded:
		say(map[string]any{"memgov": "soft_limit_ended", "t": e.At.Seconds(), "why": e.Why})
	case memgov.Lost:
		say(map[string]any{"memgov": "lost", "t": e.At.Seconds(), "why": e.Err.Error()})
	}
}

var stdout sync.Mutex

func say(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		fatal(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	_, _ = os.Stdout.Write(append(text, '\n')) // a reader that went away does not end the service
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "goservice:", err)
	os.Exit(2)
}

func mib(bytes uint64) float64 { return float64(bytes*10>>20) / 10 }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// size is a flag like 300MiB.
type size uint64

func (s *size) String() string { return fmt.Sprintf("%gMiB", float64(*s)/(1<<20)) }

func (s *size) Set(text string) error {
	for _, unit := range []struct {
		suffix string
		bytes  float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if number, ok := strings.CutSuffix(text, unit.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil || !(n >= 0 && n*unit.bytes < 1<<40) {
				return fmt.Errorf("%q is no size", text)
			}
			*s = size(n * unit.bytes)
			return nil
		}
	}
	return errors.New("a size needs a unit: KiB, MiB or GiB")
}

// percent is a flag like 10%.
type percent float64

func (p *percent) String() string { return fmt.Sprintf("%g%%", float64(*p)*100) }

func (p *percent) Set(text string) error {
	number, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("%q is no share from 0%% to 100%%", text)
	}
	*p = percent(n / 100)
	return nil
}

// choice is a flag with the given values; the chosen one is moved to the front.
type choice []string

func (c choice) set(text string) error {
	for i, value := range c {
		if value == text {
			c[0], c[i] = c[i], c[0]
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(c, ", "))
}
