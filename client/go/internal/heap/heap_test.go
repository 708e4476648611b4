package heap

import (
	"math"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestEveryMetricExistsInThisGo(t *testing.T) {
	known := map[string]bool{}
	for _, d := range metrics.All() {
		known[d.Name] = true
	}
	for _, s := range NewReader().samples {
		if !known[s.Name] {
			t.Errorf("%s has no metric %s", runtime.Version(), s.Name)
		}
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	r := NewReader()
	if n := testing.AllocsPerRun(100, func() { r.Read() }); n != 0 {
		t.Errorf("%g allocations a reading", n)
	}
}

func TestRetained(t *testing.T) {
	for name, c := range map[string]struct {
		sample Sample
		age    time.Duration
		bytes  uint64
		kind   Kind
	}{
		"just collected": {Sample{Objects: 30 * mib, Live: 30 * mib, Free: 270 * mib}, 0, 270 * mib, Exact},
		"3 % allocated since": {
			Sample{Objects: 39 * mib, Live: 30 * mib, Free: 270 * mib}, time.Second, 270 * mib, Exact},
		"more allocated since": {
			Sample{Objects: 40 * mib, Live: 30 * mib, Free: 270 * mib}, time.Second, 280 * mib, Bound},
		"collected a while ago": {
			Sample{Objects: 30 * mib, Live: 30 * mib, Free: 270 * mib}, staleAge, 270 * mib, Bound},
		"dropped since, nobody knows": {
			Sample{Objects: 300 * mib, Live: 290 * mib, Free: mib}, staleAge, 0, None},
		"the same, still young": {Sample{Objects: 300 * mib, Live: 290 * mib, Free: mib}, staleAge - 1, 11 * mib, Bound},
		"small heap":            {Sample{Objects: 5 * mib, Live: 5 * mib, Free: 0}, staleAge, 0, Bound},
		"never collected":       {Sample{Objects: 3 * mib, Free: mib}, 0, 4 * mib, Bound},
		"sweep ahead of the mark": {
			Sample{Objects: 29 * mib, Live: 30 * mib, Free: 270 * mib}, 0, 270 * mib, Exact},
	} {
		t.Run(name, func(t *testing.T) {
			bytes, kind := c.sample.Retained(c.age)
			if bytes != c.bytes || kind != c.kind {
				t.Errorf("got %d of kind %d, want %d of kind %d", bytes, kind, c.bytes, c.kind)
			}
		})
	}
}

var keep [][]byte

func TestRetainedIsWhatACollectionReturns(t *testing.T) {
	for range 64 {
		b := make([]byte, mib)
		for i := range b {
			b[i] = 1
		}
		keep = append(keep, b)
	}
	r := NewReader()
	keep = nil
	runtime.GC()
	runtime.GC() // ends the sweep of the first
	estimate, kind := r.Read().Retained(0)
	if kind != Exact || estimate < 48*mib {
		t.Errorf("right after a collection: %d bytes of kind %d, want at least 48 MiB, exact", estimate, kind)
	}
	releasedBefore := r.Read().Released
	work, err := Collect()
	if err != nil {
		t.Fatal(err)
	}
	released := float64(r.Read().Released - releasedBefore)
	if math.Abs(released-float64(estimate)) > 0.05*float64(estimate) {
		t.Errorf("estimated %d, released %.0f", estimate, released)
	}
	if work.Wall <= 0 || work.CPU <= 0 {
		t.Errorf("a collection that cost nothing: %+v", work)
	}
	if after, _ := r.Read().Retained(0); after > 4*mib {
		t.Errorf("%d bytes still retained", after)
	}
}

func TestGCShare(t *testing.T) {
	var share GCShare
	share.Next(Sample{GCSeconds: 1, BusySeconds: 10})
	if got := share.Next(Sample{GCSeconds: 2, BusySeconds: 14}); got != 0.25 {
		t.Errorf("1 s of 4 s: got %g", got)
	}
	if got := share.Next(Sample{GCSeconds: 2, BusySeconds: 14}); got != 0 {
		t.Errorf("no collection since: got %g", got)
	}
}

func TestLazyRelease(t *testing.T) {
	for godebug, want := range map[string]bool{
		"":                              false,
		"madvdontneed=0":                true,
		"madvdontneed=1":                false,
		"gctrace=0,madvdontneed=0":      true,
		"madvdontneed=0,madvdontneed=1": false,
		"madvdontneed=1,madvdontneed=0": true,
		"madvdontneed=0,madvdontneed=x": true, // the runtime passes over what is no number
		"xmadvdontneed=0":               false,
		"madvdontneed":                  false,
	} {
		if got := (Environment{GODEBUG: godebug}).LazyRelease(); got != want {
			t.Errorf("GODEBUG=%q: lazy %v, want %v", godebug, got, want)
		}
	}
}
