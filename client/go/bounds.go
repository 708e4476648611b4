package memgov

// What a governor may cost this process, whoever it is.

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The numbers are the C client's (client/c/bounds.h): above anything that memgovd sends, which asks a client for one thing
// at a time, once in 10 ms at the very most, and may take a fifth of its time while a kill is near.
const (
	messagesASecond = 200
	messagesAtOnce  = 512
	bytesASecond    = 64 << 10
	bytesAtOnce     = 256 << 10
	headerBytes     = 8 << 10
	workDivisor     = 4
	workAtOnce      = 2 * time.Second
	workCounted     = 1250 * time.Millisecond // of one directive
	longestTTL      = time.Hour               // that a policy can say
)

// refusal is a reason of ours to hang up, after which another attempt soon would end in the same way.
type refusal struct{ error }

// isRefusal tells the ends after which either side would most likely say no again.
func isRefusal(err error) bool {
	var ours refusal
	if errors.As(err, &ours) {
		return true
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.ResourceExhausted, codes.Unimplemented, codes.Unauthenticated:
		return true
	}
	return false
}

var (
	errFlood    = refusal{errors.New("the governor floods us: not listening to it for a while")}
	errTooSoon  = errors.New("too soon: directives have taken more than a quarter of the time")
	errOneWaits = errors.New("an earlier request had not been answered when it came, and there is one at a time")
)

// bounds are the accounts of an agent over all its sessions, since hanging up must not buy a new one. Each is the time
// at which it would be empty. Two goroutines use them.
type bounds struct {
	mu                    sync.Mutex
	messages, bytes, work time.Duration
}

func (b *bounds) take(account *time.Duration, cost, most, now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	after := max(*account, now) + cost
	if after > now+most {
		return false
	}
	*account = after
	return true
}

func (b *bounds) takeMessage(now time.Duration) bool {
	return b.take(&b.messages, time.Second/messagesASecond, messagesAtOnce*time.Second/messagesASecond, now)
}

func (b *bounds) takeBytes(n int, now time.Duration) bool {
	return b.take(&b.bytes, time.Duration(n)*time.Second/bytesASecond, bytesAtOnce*time.Second/bytesASecond, now)
}

// mayWork tells whether a directive may be carried out now; worked counts one that was, in `took`.
func (b *bounds) mayWork(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.work <= now+workDivisor*workAtOnce
}

func (b *bounds) worked(took, began time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.work = max(b.work, began) + workDivisor*min(took, workCounted)
}

// boundedConn counts what comes below gRPC, where pings, settings and empty frames are still bytes, and ends.
type boundedConn struct {
	net.Conn
	bounds  *bounds
	clock   clock
	flooded atomic.Bool
}

func (c *boundedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.bounds.takeBytes(n, c.clock.Now()) {
		c.flooded.Store(true)
		return 0, errFlood
	}
	return n, err
}
