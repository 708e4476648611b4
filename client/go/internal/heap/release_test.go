package heap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func touched(bytes int) []byte {
	b := make([]byte, bytes)
	for page := 0; page < len(b); page += 4096 {
		b[page] = 1
	}
	return b
}

// freeSpans leaves `free` blocks of 1 MiB as free spans beside `live` ones, just collected.
func freeSpans(live, free int) (alive [][]byte) {
	for range free {
		keep = append(keep, touched(mib))
		if len(alive) < live {
			alive = append(alive, touched(mib))
		}
	}
	keep = nil
	runtime.GC()
	runtime.GC()
	return alive
}

func never() bool { return false }

func TestFreeSpansAreReleasedWithoutACollection(t *testing.T) {
	if Startup.GOMEMLIMIT != "" {
		t.Skip("GOMEMLIMIT is set")
	}
	for name, live := range map[string]int{"hardly anything alive": 0, "as much alive as free": 192} {
		t.Run(name, func(t *testing.T) {
			alive := freeSpans(live, 192)
			r := NewReader()
			before := r.Read()
			l := NewSoftLimit(debug.SetMemoryLimit, Startup)
			work, released, err := l.ReleaseFree(r, never)
			after := r.Read()
			if err != nil || released < before.Free*3/4 || released > before.Free {
				t.Errorf("%d of %d bytes released, %v", released, before.Free, err)
			}
			if work.Before-work.After < released*9/10 || work.Wall <= 0 || work.CPU <= 0 {
				t.Errorf("%+v for %d bytes", work, released)
			}
			if after.Cycles != before.Cycles {
				t.Errorf("%d collections", after.Cycles-before.Cycles)
			}
			if after.SoftLimit != NoLimit {
				t.Errorf("a limit of %d stays", after.SoftLimit)
			}
			t.Logf("%d of %d MiB in %v, %v of CPU", released/mib, before.Free/mib, work.Wall, work.CPU)
			runtime.KeepAlive(alive)
		})
	}
}

func TestReleasingKeepsToItsTimeAndToLimitsOfOthers(t *testing.T) {
	if Startup.GOMEMLIMIT != "" {
		t.Skip("GOMEMLIMIT is set")
	}
	freeSpans(0, 64)
	r := NewReader()
	l := NewSoftLimit(debug.SetMemoryLimit, Startup)
	if _, released, err := l.ReleaseFree(r, func() bool { return true }); released != 0 || err != nil {
		t.Errorf("%d bytes after its time, %v", released, err)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	if _, released, err := l.ReleaseFree(r, never); released != 0 || err == nil {
		t.Errorf("%d bytes although the program has a limit, %v", released, err)
	}
}

func TestAnOwnLimitIsInForceAgainAfterARelease(t *testing.T) {
	if Startup.GOMEMLIMIT != "" {
		t.Skip("GOMEMLIMIT is set")
	}
	freeSpans(0, 64)
	r := NewReader()
	l := NewSoftLimit(debug.SetMemoryLimit, Startup)
	if err := l.Set(0, 1<<40, time.Hour, r.Read()); err != nil {
		t.Fatal(err)
	}
	defer l.Undo()
	if _, released, err := l.ReleaseFree(r, never); released < 32*mib || err != nil {
		t.Errorf("%d bytes, %v", released, err)
	}
	if got := r.Read().SoftLimit; got != 1<<40 {
		t.Errorf("the limit is %d", got)
	}
}

// The program replaces the limit in the middle, having read ours, and puts that back later.
func TestALimitThatTheProgramReadInTheMiddleDoesNotStay(t *testing.T) {
	r := newRuntime()
	var read int64
	calls := 0
	l := NewSoftLimit(func(limit int64) int64 {
		if calls++; calls == 2 {
			read = r.set(777 * mib)
		}
		return r.set(limit)
	}, Environment{})
	l.squeeze(r.read(), mib)
	wantLimit(t, r, 777*mib)
	r.set(read)
	if why := l.Tick(0, r.read()); why == "" {
		t.Error("it stays")
	}
	wantLimit(t, r, NoLimit)
}

func TestASliceBringsNoCollectionForward(t *testing.T) {
	for name, c := range map[string]struct {
		sample Sample
		want   uint64
	}{
		"much is free":              {Sample{Objects: 100 * mib, Live: 100 * mib, Free: 200 * mib}, sliceBytes},
		"the end":                   {Sample{Objects: 10 * mib, Live: 10 * mib, Free: 13 * mib}, 3 * mib},
		"too little is free":        {Sample{Objects: 10 * mib, Live: 10 * mib, Free: 8 * mib}, 0},
		"the free spans are needed": {Sample{Objects: 150 * mib, Live: 100 * mib, Free: 33 * mib}, 0},
		"nothing":                   {Sample{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sliceOf(c.sample); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}
