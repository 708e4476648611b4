package memgov

// Which goroutine is this? Go does not say, but a hook that unregisters itself must not wait for itself.

import (
	"bytes"
	"errors"
	"runtime"
	"strconv"
	"sync"
)

// goroutineID is unique in a process; 0 is none.
type goroutineID uint64

// thisGoroutine reads the number from the first line of the goroutine's trace ("goroutine 18 [running]:"), which takes
// about a microsecond. 0: the line has another form, which no version of Go so far had; who compares then takes an
// unknown goroutine for the hook's own and does not wait.
func thisGoroutine() goroutineID {
	var line [64]byte
	words := bytes.Fields(line[:runtime.Stack(line[:], false)])
	if len(words) < 2 {
		return 0
	}
	id, err := strconv.ParseUint(string(words[1]), 10, 64)
	if err != nil {
		return 0
	}
	return goroutineID(id)
}

// callbacks are the goroutines that call functions of the program: agents and running hooks.
var callbacks struct {
	sync.Mutex
	goroutines map[goroutineID]bool
}

// errInCallback is the answer to who would wait for himself.
var errInCallback = errors.New("memgov: neither Start nor stop may be called from a hook or an observer")

// enterCallback notes that this goroutine calls functions of the program, until leave.
func enterCallback() (leave func()) {
	id := thisGoroutine()
	callbacks.Lock()
	defer callbacks.Unlock()
	if callbacks.goroutines == nil {
		callbacks.goroutines = map[goroutineID]bool{}
	}
	callbacks.goroutines[id] = true
	return func() {
		callbacks.Lock()
		defer callbacks.Unlock()
		delete(callbacks.goroutines, id)
	}
}

// inCallback tells whether this goroutine is one of those.
func inCallback() bool {
	id := thisGoroutine()
	callbacks.Lock()
	defer callbacks.Unlock()
	return id != 0 && callbacks.goroutines[id]
}
