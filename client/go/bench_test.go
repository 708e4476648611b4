package memgov

import (
	"testing"

	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

// A look at the heap allocates nothing, and a report only its message.
func TestWhatLookingAndReportingAllocate(t *testing.T) {
	o, err := newOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(o, newHandClock())
	a.pretend()
	a.session.in = make(chan received)
	a.reportEvery, a.nextReport, a.lastRetained = longestReportEvery, a.clock.Now()+longestReportEvery, 1<<62
	if n := testing.AllocsPerRun(1000, func() { a.step() }); n != 0 {
		t.Errorf("%g allocations a look", n)
	}
	s := a.reader.Read()
	report := func() {
		a.report(a.clock.Now(), s)
		<-a.session.out
	}
	if n := testing.AllocsPerRun(1000, report); n > 6 {
		t.Errorf("%g allocations a report", n)
	}
}

func BenchmarkLook(b *testing.B) {
	o, _ := newOptions(nil)
	a := newAgent(o, machineClock{})
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		a.look(a.clock.Now())
	}
}

func BenchmarkReport(b *testing.B) {
	o, _ := newOptions(nil)
	a := newAgent(o, machineClock{})
	a.session = &session{out: make(chan *pb.ClientMessage, 1)}
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		a.report(a.clock.Now(), a.look(a.clock.Now()))
		<-a.session.out
	}
}
