package memgov

// Caches of the program that can be shed: what programs see of it. hooks.go calls them.

import "context"

// Level is how hard the governor presses.
type Level int

// The levels, in their order.
const (
	LevelCalm     Level = iota + 1 // after relief: growing back is fine
	LevelWake                      // memory is getting short
	LevelCritical                  // a kill is near
)

// String returns "calm", "wake" or "critical".
func (l Level) String() string {
	switch l {
	case LevelCalm:
		return "calm"
	case LevelWake:
		return "wake"
	case LevelCritical:
		return "critical"
	default:
		return "unknown"
	}
}

// Pressure is what the governor wants of a hook.
type Pressure struct {
	Level Level
	Bytes int64 // to give: what was asked less what hooks before this one gave; more than 0
}

// HookOption says something about a hook.
type HookOption func(*hook)

// Named is what a hook is called in the log and by the governor's operator, cut to 31 bytes; the default is "cache".
func Named(name string) HookOption { return func(h *hook) { h.name = name } }

// Priority is a hook's place in the order of calling: lower ones are asked first, equal ones in the order of their
// registration. Give what is cheap to make again the lowest. The default is 0.
func Priority(priority int) HookOption { return func(h *hook) { h.priority = priority } }

// OnPressure registers a hook: a cache that can give memory up. When the governor asks to shed some bytes the hooks are
// called in the order of their priorities until so much was given, none is left, or the directive's deadline has passed;
// then a collection returns what they dropped to the kernel, if the budget allows one (WithBudget).
//
// A hook drops about p.Bytes, or less, and returns how many bytes it dropped; more is not needed. A negative number says
// that it could not do its work, and so does a panic: it has given nothing then, the log and the governor are told that
// it failed, and the next one is called. ctx ends with the directive's deadline and with stop. One that takes long keeps
// the hooks after it from being called. Hooks run one at a time, on a goroutine of the client, never under a lock of
// it; no directive is carried out meanwhile. From a hook Start and stop return an error and do nothing.
//
// Hooks may be registered and unregistered at any time: before Start, without it, after stop, from several goroutines,
// and from a hook. They outlive stop and are called again after the next Start. unregister waits for a call of this hook
// that is running: do not hold a lock that the hook takes. When it has returned the hook is not called any more. From
// the hook itself it returns at once. Calling it again is allowed, and waits as well.
//
// The first hook gives the process the ability to shed, the last one takes it. Who is attached at that moment says so by
// a new session in the old one's place, after a second or three: the governor sees a client leave and come, an observer
// a second Welcomed. Hooks that are registered before Start spare that.
func OnPressure(give func(ctx context.Context, p Pressure) (freed int64), opts ...HookOption) (unregister func()) {
	return programHooks.add(give, opts)
}

// programHooks are the hooks of this process.
var programHooks = newHooks()
