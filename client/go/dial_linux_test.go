package memgov

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// fullQueue listens at a path and fills the queue. accept takes one off it.
func fullQueue(t *testing.T) (path string, accept func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "memgov.sock")
	unixSocket := func() int {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		return fd
	}
	address := &syscall.SockaddrUnix{Name: path}
	listener := unixSocket()
	if err := errors.Join(syscall.Bind(listener, address), syscall.Listen(listener, 0)); err != nil {
		t.Fatal(err)
	}
	for syscall.Connect(unixSocket(), address) == nil {
	}
	return path, func() {
		if fd, _, err := syscall.Accept(listener); err == nil {
			syscall.Close(fd)
		}
	}
}

func TestDialWaitsAMomentForRoomInTheQueue(t *testing.T) {
	for range 20 { // a busy machine may be late once
		path, accept := fullQueue(t)
		go func() {
			time.Sleep(5 * time.Millisecond)
			accept()
		}()
		if conn, err := dial(context.Background(), path); err == nil {
			conn.Close()
			return
		}
	}
	t.Error("a queue that is full for 5 ms is not waited for")
}

func TestDialGivesUpAQueueThatStaysFull(t *testing.T) {
	path, _ := fullQueue(t)
	if conn, err := dial(context.Background(), path); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("got %v, %v", conn, err)
	}
}
