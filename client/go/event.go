package memgov

// What an observer of the client is told.

import "time"

// Event is something that happened between this process and the governor: Welcomed, Received, Done, SoftLimitEnded or
// Lost. Each has the time when it happened on CLOCK_MONOTONIC, which all processes of a machine share.
type Event interface{ event() }

// Welcomed: the governor knows this process.
type Welcomed struct {
	At          time.Duration
	Governor    string // for example "memgovd 0.1.0"
	Cgroup      string
	Container   string // empty outside of any
	Enforcing   bool   // false: the governor observes only, no directive will come
	ReportEvery time.Duration
}

// Received: a directive came. At is when it came off the wire, even if an earlier one was still being carried out.
type Received struct {
	At       time.Duration
	ID       uint64
	Action   string // "collect", "set_soft_limit", ...
	Bytes    uint64
	Deadline time.Duration
	TTL      time.Duration
	Level    string // "calm", "wake", "critical"
	Rule     string // the policy's rule
	Reason   string // a sentence
}

// Done: a directive was answered.
type Done struct {
	At            time.Duration
	ID            uint64
	Action        string
	Status        string // "done", "declined", "failed"
	Why           string
	Before, After uint64 // resident bytes of the process
	Wall, CPU     time.Duration
}

// SoftLimitEnded: the soft limit that a directive set is no longer in force.
type SoftLimitEnded struct {
	At  time.Duration
	Why string
}

// Lost: the stream to the governor ended, or could not be opened for the first time since the last Welcomed. The client
// goes on trying.
type Lost struct {
	At  time.Duration
	Err error
}

func (Welcomed) event()       {}
func (Received) event()       {}
func (Done) event()           {}
func (SoftLimitEnded) event() {}
func (Lost) event()           {}
