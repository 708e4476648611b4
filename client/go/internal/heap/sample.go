// Package heap is what the client knows of Go's memory: what the runtime's metrics say, what can be returned, and the
// two levers (a collection that returns free pages, and the soft memory limit).
//
// Nothing here stops the world to look: runtime.ReadMemStats does, so only runtime/metrics is read (about a
// microsecond). Nothing here knows about the governor, goroutines or timers; the current time is an argument.
package heap

import (
	"math"
	"runtime/metrics"
	"time"
)

// NoLimit is the value of the runtime's soft memory limit that means there is none.
const NoLimit = math.MaxInt64

// Kind says how far Sample.Retained can be trusted.
type Kind int

// The kinds of an estimate.
const (
	None  Kind = iota // not known; the bytes are 0 and mean nothing
	Bound             // at most this much, as long as what the last collection marked is alive
	Exact             // a collection has just told garbage from live objects; right to 3 % of the heap
)

// Sample is one reading of the runtime's metrics. Sizes are in bytes.
type Sample struct {
	Objects   uint64 // live objects and garbage that was not swept yet
	Unused    uint64 // room inside spans that hold objects: fragmentation, not returnable
	Free      uint64 // whole free spans that still have their pages
	Released  uint64 // address space whose pages were given back
	Total     uint64 // all memory that the runtime mapped, Released included
	Live      uint64 // what the last collection marked; 0 before the first
	SoftLimit uint64 // NoLimit: none

	GCPercent    uint64 // GOGC; math.MaxUint64: off
	Cycles       uint64 // collections so far
	LimiterCycle uint64 // the collection at which the GC CPU limiter was last enabled; 0: never

	GCSeconds   float64 // CPU time spent on collections; the runtime adds to it when a collection ends
	BusySeconds float64 // CPU time spent on anything; likewise
}

// The order of the metrics in Reader.samples.
const (
	objects = iota
	unused
	free
	released
	total
	live
	softLimit
	gcPercent
	cycles
	limiterCycle
	gcSeconds
	totalSeconds
	idleSeconds
)

// Reader reads Samples into a buffer of its own, so that reading does not allocate. Not safe for concurrent use.
type Reader struct {
	samples []metrics.Sample
}

// NewReader returns a Reader.
func NewReader() *Reader {
	return &Reader{samples: []metrics.Sample{
		objects:      {Name: "/memory/classes/heap/objects:bytes"},
		unused:       {Name: "/memory/classes/heap/unused:bytes"},
		free:         {Name: "/memory/classes/heap/free:bytes"},
		released:     {Name: "/memory/classes/heap/released:bytes"},
		total:        {Name: "/memory/classes/total:bytes"},
		live:         {Name: "/gc/heap/live:bytes"},
		softLimit:    {Name: "/gc/gomemlimit:bytes"},
		gcPercent:    {Name: "/gc/gogc:percent"},
		cycles:       {Name: "/gc/cycles/total:gc-cycles"},
		limiterCycle: {Name: "/gc/limiter/last-enabled:gc-cycle"},
		gcSeconds:    {Name: "/cpu/classes/gc/total:cpu-seconds"},
		totalSeconds: {Name: "/cpu/classes/total:cpu-seconds"},
		idleSeconds:  {Name: "/cpu/classes/idle:cpu-seconds"},
	}}
}

// Read reads the metrics now. A metric that this version of Go does not have reads as 0.
func (r *Reader) Read() Sample {
	metrics.Read(r.samples)
	return Sample{
		Objects:      r.bytes(objects),
		Unused:       r.bytes(unused),
		Free:         r.bytes(free),
		Released:     r.bytes(released),
		Total:        r.bytes(total),
		Live:         r.bytes(live),
		SoftLimit:    r.bytes(softLimit),
		GCPercent:    r.bytes(gcPercent),
		Cycles:       r.bytes(cycles),
		LimiterCycle: r.bytes(limiterCycle),
		GCSeconds:    r.seconds(gcSeconds),
		BusySeconds:  r.seconds(totalSeconds) - r.seconds(idleSeconds),
	}
}

func (r *Reader) bytes(i int) uint64 {
	if r.samples[i].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return r.samples[i].Value.Uint64()
}

func (r *Reader) seconds(i int) float64 {
	if r.samples[i].Value.Kind() != metrics.KindFloat64 {
		return 0
	}
	return r.samples[i].Value.Float64()
}

// Retained estimates what a collection and a release would return. age is the time since the last collection.
//
// After a collection the free spans are what can be returned: right to about a percent. As the program allocates, an
// unknown part of what it allocated since is garbage; Bound counts all of it. Neither sees an object that the last
// collection marked and that died since: nobody knows before the next one. So when the last one is long ago and nearly
// all it marked may be dead or alive, the estimate is None rather than a small number that hides a large one.
func (s Sample) Retained(age time.Duration) (uint64, Kind) {
	allocatedSince := minus(s.Objects, s.Live)
	estimate := s.Free + allocatedSince
	switch {
	case age >= staleAge && estimate < s.Live/8 && s.Live >= staleBytes:
		return 0, None
	case age < staleAge && allocatedSince <= (s.Free+s.Live)/32:
		return s.Free, Exact
	default:
		return estimate, Bound
	}
}

const (
	staleAge   = 3 * time.Second // a busy program collects about once in this time
	staleBytes = 16 << 20        // a smaller heap is not worth a collection
)

// LiveBytes is what the program uses: what the last collection marked, or all objects while none has run or all
// garbage is swept.
func (s Sample) LiveBytes() uint64 {
	if s.Live == 0 {
		return s.Objects
	}
	return min(s.Live, s.Objects)
}

// NonHeap is stacks and the runtime's own structures, all that counts against the soft limit and is no heap.
func (s Sample) NonHeap() uint64 {
	return minus(s.Total, s.Released+s.Objects+s.Unused+s.Free)
}

// Floor is the lowest soft limit that the program can live under without collecting all the time: its live objects
// and a fifth, and what no collection can give back (fragmentation counts against the limit too).
func (s Sample) Floor() uint64 {
	live := s.LiveBytes()
	return live + live/5 + s.Unused + s.NonHeap()
}

// minus is a-b, or 0: the metrics of one reading may be a few objects apart.
func minus(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// GCShare turns the runtime's running totals into the share of CPU time spent on collections between two readings.
// The runtime updates the totals when a collection ends, so a span without one has a share of 0.
type GCShare struct {
	last Sample
}

// Next returns the share since the previous call, from 0 to 1.
func (g *GCShare) Next(s Sample) float64 {
	gc, busy := s.GCSeconds-g.last.GCSeconds, s.BusySeconds-g.last.BusySeconds
	g.last = s
	if gc <= 0 || busy <= 0 {
		return 0
	}
	return math.Min(gc/busy, 1)
}
