package main

// A slow leak of small objects with pointers, as leaks are, in a service that makes garbage all the time.
//
// Four times a second {"leaked_mib":..,"limit_mib":..,"gc_s":..,"used_s":..,"cpu_s":..}: the runtime's soft limit (absent:
// none), and CPU seconds: of collections, used in all, and all there was.

import (
	"flag"
	"math"
	"os"
	"time"
)

// node is 128 bytes; every one is reached through the one before, so that a collection has to visit all.
type node struct {
	next *node
	data [15]uint64
}

func leak(arguments []string, ending <-chan os.Signal) int {
	flags := flag.NewFlagSet("leak", flag.ExitOnError)
	rate, churn, at := size(4<<20), size(64<<20), size(0)
	flags.Var(&rate, "rate", "what is leaked a second")
	flags.Var(&churn, "churn", "garbage that is made a second")
	flags.Var(&at, "start", "what has leaked already when the scene begins")
	parse(flags, arguments)

	leaked := newLeaked(uint64(at))
	const ticks = 100 // a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	say(map[string]any{"ready": true, "pid": os.Getpid()})
	for n := 1; ; n++ {
		select {
		case <-ending:
			errs := leaked.wrong()
			sayLeak(leaked, map[string]any{"final": true, "errors": errs})
			return errs
		case <-tick.C:
		}
		leaked.grow(uint64(rate) / ticks)
		for made := uint64(0); made < uint64(churn)/ticks; made += 4 << 10 {
			garbage = newBlock(4<<10, made)
		}
		if n%(ticks/4) == 0 {
			sayLeak(leaked, map[string]any{})
		}
	}
}

// garbage is where the compiler cannot see that nobody looks.
//
//lint:ignore U1000 it is written so that what it holds is allocated
var garbage []byte

// leakedList is what has leaked. Several lists, because a collector cannot share out the visiting of one.
type leakedList struct {
	heads [64]*node
	count uint64
}

func newLeaked(bytes uint64) *leakedList {
	leaked := &leakedList{}
	leaked.grow(bytes)
	return leaked
}

func (l *leakedList) grow(bytes uint64) {
	for end := l.count + bytes/128; l.count < end; l.count++ {
		head := &l.heads[l.count%uint64(len(l.heads))]
		*head = &node{next: *head}
		for i := range (*head).data {
			(*head).data[i] = l.count
		}
	}
}

func (l *leakedList) wrong() (errs int) {
	seen := uint64(0)
	for _, head := range l.heads {
		for ; head != nil; head = head.next {
			seen++
			if head.data[0] != head.data[14] {
				errs++
			}
		}
	}
	if seen != l.count {
		errs++
	}
	return errs
}

func sayLeak(leaked *leakedList, line map[string]any) {
	collecting, used, available := cpuSeconds()
	line["leaked_mib"] = mib(leaked.count * 128)
	line["gc_s"], line["used_s"], line["cpu_s"] = collecting, used, available
	line["collections"] = number("/gc/cycles/total:gc-cycles")
	if limit := number("/gc/gomemlimit:bytes"); limit != math.MaxInt64 {
		line["limit_mib"] = mib(limit)
	}
	say(line)
}
