package memgov

// One attached stream: Hello, reports, outcomes.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
)

const (
	connectTimeout = 2 * time.Second
	roomWithin     = 50 * time.Millisecond // in the listen queue
	roomPause      = time.Millisecond
	// Nobody has so many messages under way to a client that is at work: what does not fit is a flood.
	queueLength = 64
	// The governor's messages are small; what is larger is no message of it.
	maxMessageBytes = 64 << 10
	// gRPC's buffers are 32 KiB each by default. Messages here are about 100 bytes.
	connBufferBytes = 1 << 10
	// The smallest window that turns off gRPC's bandwidth estimation, and so its pings.
	windowBytes = 64 << 10
)

// dial connects. Somebody else may keep the governor's listen queue full (EAGAIN); mostly there is room again within a
// millisecond. Go's connect does not wait for that, so it is tried again for a moment.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTimeout}
	for began := time.Now(); ; time.Sleep(roomPause) {
		conn, err := dialer.DialContext(ctx, "unix", socket)
		if !errors.Is(err, syscall.EAGAIN) || time.Since(began) >= roomWithin || ctx.Err() != nil {
			return conn, err
		}
	}
}

// session is one stream to the governor, from the dial to its end. Two goroutines carry it: one receives, one sends.
// The agent talks to them through channels only, so that a governor that hangs holds up neither the agent nor stop.
type session struct {
	cancel context.CancelFunc
	in     chan received // closed when both goroutines have ended
	out    chan *pb.ClientMessage
	err    error // why the stream ended; to be read after in is closed
}

// received is a message and when it came off the wire.
type received struct {
	at      time.Duration
	message *pb.GovernorMessage
}

// openSession connects in the background and says hello.
func openSession(ctx context.Context, socket string, hello *pb.Hello, clock clock, bounds *bounds) *session {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{
		cancel: cancel,
		in:     make(chan received, queueLength),
		out:    make(chan *pb.ClientMessage, messagesAtOnce), // an answer to each
	}
	go func() {
		defer close(s.in)
		s.err = s.run(ctx, socket, hello, clock, bounds)
	}()
	return s
}

// send queues a message. False: the queue is full, because the governor has not read for long.
func (s *session) send(m *pb.ClientMessage) bool {
	select {
	case s.out <- m:
		return true
	default:
		return false
	}
}

// close ends the session and waits for its goroutines.
func (s *session) close() {
	s.cancel()
	for range s.in {
		// What still comes is too late.
	}
}

func (s *session) run(ctx context.Context, socket string, hello *pb.Hello, clock clock, bounds *bounds) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a defect of the client: %v", p)
		}
	}()
	// Dial first: without a governor nothing of gRPC is set up.
	dialed, err := dial(ctx, socket)
	if err != nil {
		return err
	}
	defer dialed.Close()
	if err := trust(dialed, socket); err != nil {
		return err
	}
	conn := &boundedConn{Conn: dialed, bounds: bounds, clock: clock}
	defer func() {
		if conn.flooded.Load() {
			err = errFlood // gRPC has made a status of it
		}
	}()
	client, err := newClient(conn)
	if err != nil {
		return err
	}
	defer client.Close()
	stream, err := pb.NewSessionClient(client).Attach(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.ClientMessage{Body: &pb.ClientMessage_Hello{Hello: hello}}); err != nil {
		return receiveError(stream, err)
	}

	sent := make(chan struct{})
	defer func() { s.cancel(); <-sent }()
	go func() {
		defer close(sent)
		for {
			select {
			case m := <-s.out:
				if stream.Send(m) != nil {
					return // Recv has the cause
				}
			case <-ctx.Done():
				return
			}
		}
	}()

	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		now := clock.Now()
		if !bounds.takeMessage(now) {
			return errFlood
		}
		select {
		case s.in <- received{at: now, message: message}:
		case <-ctx.Done():
			return ctx.Err()
		default:
			return errFlood
		}
	}
}

// receiveError returns why a stream that took no message ended; Send only says that it did.
func receiveError(stream pb.Session_AttachClient, sendErr error) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return sendErr
}

// newClient speaks gRPC over a connection that is there already, with as little memory as gRPC can do with: no name
// resolution, proxy, service configuration, retries, health checks, idleness timer or pings.
func newClient(conn net.Conn) (*grpc.ClientConn, error) {
	var used atomic.Bool
	return grpc.NewClient("passthrough:///memgov",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errors.New("the connection is over")
			}
			return conn, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithReadBufferSize(connBufferBytes),
		grpc.WithWriteBufferSize(connBufferBytes),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithMaxHeaderListSize(headerBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithDisableHealthCheck(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
	)
}
