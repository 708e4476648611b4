package memgov

// The table of pressure hooks (any goroutine) and calling them in order (the agent). The lock guards the table alone and
// is never held while a hook runs, so a hook may do to the table what it likes.

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	longestHookName = 31
	longestHookList = 150                    // of an outcome's text
	toldFrom        = 100 * time.Millisecond // a hook that takes so long is told with its time
)

// hook is one registration; constant after it.
type hook struct {
	give     func(context.Context, Pressure) int64
	name     string
	priority int
	age      uint64 // grows with each registration
}

// before tells whether h is called before other: by priority, then by age.
func (h *hook) before(other *hook) bool {
	if h.priority != other.priority {
		return h.priority < other.priority
	}
	return h.age < other.age
}

// hooks is a table of hooks.
type hooks struct {
	changed chan struct{} // has a value after the first hook came or the last one went

	mu       sync.Mutex
	sorted   []*hook // in the order of calling
	youngest uint64
	running  *hook         // the one that is being called
	runner   goroutineID   // ... on this goroutine; 0 before it runs
	returned chan struct{} // ... closed when the call is over
}

func newHooks() *hooks { return &hooks{changed: make(chan struct{}, 1)} }

func (t *hooks) add(give func(context.Context, Pressure) int64, opts []HookOption) (remove func()) {
	h := &hook{give: give, name: "cache"}
	for _, opt := range opts {
		opt(h)
	}
	h.name = text(h.name, longestHookName)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.youngest++
	h.age = t.youngest
	place, _ := slices.BinarySearchFunc(t.sorted, h, func(a, b *hook) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	t.sorted = slices.Insert(t.sorted, place, h)
	if len(t.sorted) == 1 {
		t.tellChange()
	}
	return func() { t.remove(h) }
}

// remove waits for a call of the hook that is running, also when the hook was removed before: what it uses may go away
// when remove returns.
func (t *hooks) remove(h *hook) {
	t.mu.Lock()
	if place := slices.Index(t.sorted, h); place >= 0 {
		t.sorted = slices.Delete(t.sorted, place, place+1)
		if len(t.sorted) == 0 {
			t.tellChange()
		}
	}
	wait := t.running == h && t.runner != thisGoroutine()
	returned := t.returned
	t.mu.Unlock()
	if wait {
		<-returned
	}
}

func (t *hooks) tellChange() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// any tells whether there is a hook.
func (t *hooks) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sorted) > 0
}

// order is a shed that is asked for.
type order struct {
	level Level
	bytes uint64
	until time.Duration // on clock; 0: there is no such time
	clock clock
	await func(returned <-chan struct{})  // waits for one hook
	broke func(name string, panicked any) // tells of one that panicked
}

// shed is what came of calling the hooks.
type shed struct {
	called int
	left   int    // not called any more, although not enough was given: the time was up, or we are stopping
	given  uint64 // bytes, as the hooks say
	text   string // "gave 48 MiB of 64 MiB: blocks 40 MiB, thumbs 8192 KiB"; empty when none was called or left
}

// shed calls hooks in their order until order.bytes were given, none is left, the time is up, or ctx is over, which
// means that the agent stops. Hooks that are registered meanwhile are not called. For one goroutine at a time.
func (t *hooks) shed(ctx context.Context, o order) shed {
	var s shed
	var list hookList
	var last *hook
	t.mu.Lock()
	youngest := t.youngest
	t.mu.Unlock()
	for s.given < o.bytes {
		begin := o.clock.Now()
		if ctx.Err() != nil || o.until != 0 && begin >= o.until {
			s.left = t.countAfter(last, youngest)
			break
		}
		if last = t.beginNext(last, youngest); last == nil {
			break
		}
		given := t.call(ctx, o, last, o.bytes-s.given)
		s.called++
		if given > 0 {
			s.given = sum(s.given, uint64(given))
		}
		list.tell(last.name, given, o.clock.Now()-begin)
	}
	if s.called+s.left > 0 {
		s.text = fmt.Sprintf("gave %s of %s", sizeText(s.given), sizeText(o.bytes))
		if list.text != "" {
			s.text += ": " + list.text
		}
		if s.left > 0 && ctx.Err() != nil {
			s.text += fmt.Sprintf("; memgov stops, %d not asked", s.left)
		} else if s.left > 0 {
			s.text += fmt.Sprintf("; the time was up, %d not asked", s.left)
		}
	}
	return s
}

// next returns the first hook after last (nil: of all) that is no younger than youngest. The lock is held.
func (t *hooks) next(last *hook, youngest uint64) *hook {
	for _, h := range t.sorted {
		if h.age <= youngest && (last == nil || last.before(h)) {
			return h
		}
	}
	return nil
}

func (t *hooks) countAfter(last *hook, youngest uint64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := 0
	for h := t.next(last, youngest); h != nil; h = t.next(h, youngest) {
		count++
	}
	return count
}

// beginNext returns the next hook, marked as running.
func (t *hooks) beginNext(last *hook, youngest uint64) *hook {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.next(last, youngest)
	if next != nil {
		t.running, t.runner, t.returned = next, 0, make(chan struct{})
	}
	return next
}

// call runs the hook on a goroutine of its own, so that one that ends its goroutine ends nothing else, and waits for it.
// A negative result: it failed.
func (t *hooks) call(ctx context.Context, o order, h *hook, bytes uint64) (given int64) {
	if o.until != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.until-o.clock.Now())
		defer cancel()
	}
	pressure := Pressure{Level: o.level, Bytes: int64(min(bytes, math.MaxInt64))}
	given = -1
	returned := t.returned
	go func() {
		defer func() {
			if p := recover(); p != nil {
				o.broke(h.name, p)
			}
			t.mu.Lock()
			t.running, t.runner = nil, 0
			t.mu.Unlock()
			close(returned)
		}()
		defer enterCallback()()
		t.mu.Lock()
		t.runner = thisGoroutine()
		t.mu.Unlock()
		given = h.give(ctx, pressure)
	}()
	o.await(returned)
	return given
}

// hookList is the text "name 8 MiB, other nothing, ..."; what does not fit is three dots.
type hookList struct {
	text string
	full bool
}

func (l *hookList) tell(name string, given int64, took time.Duration) {
	item := name + " " + givenText(given)
	if took >= toldFrom {
		item += fmt.Sprintf(" in %d ms", took.Milliseconds())
	}
	if l.text != "" {
		item = ", " + item
	}
	const dots = ", ..."
	switch {
	case l.full:
	case len(l.text)+len(item)+len(dots) <= longestHookList:
		l.text += item
	default:
		l.full = true
		l.text = strings.TrimPrefix(l.text+dots, ", ")
	}
}

func givenText(given int64) string {
	switch {
	case given < 0:
		return "failed"
	case given == 0:
		return "nothing"
	default:
		return sizeText(uint64(given))
	}
}

func sizeText(bytes uint64) string {
	if bytes >= 10<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

func sum(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
