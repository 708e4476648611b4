package memgov

// The options of Start and their defaults.

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
)

const (
	defaultSocket = "/run/memgov/memgov.sock"
	longestSocket = 107 // sun_path of unix(7) less the final NUL
	longestName   = 64
)

// Option changes what Start does by default.
type Option func(*options)

type options struct {
	socket   string
	name     string
	logger   *slog.Logger
	observer func(Event)
	budget   Budget
}

// WithSocket names the governor's socket; it wins over MEMGOV_SOCKET.
func WithSocket(path string) Option { return func(o *options) { o.socket = path } }

// WithName is what people see of this process in the governor's output; the default is the program's file name.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithLogger logs attaching and losing the governor and each directive's outcome; the default is silence.
func WithLogger(logger *slog.Logger) Option { return func(o *options) { o.logger = logger } }

// WithObserver calls observe at each Event, one at a time, on the client's own goroutine: no directive is carried out
// meanwhile.
func WithObserver(observe func(Event)) Option { return func(o *options) { o.observer = observe } }

func newOptions(opts []Option) (options, error) {
	o := options{socket: environment("MEMGOV_SOCKET")}
	if o.socket == "" {
		o.socket = defaultSocket
	}
	if len(os.Args) > 0 {
		o.name = filepath.Base(os.Args[0])
	}
	for _, opt := range opts {
		opt(&o)
	}
	if o.logger == nil {
		never := slog.HandlerOptions{Level: slog.Level(math.MaxInt)}
		o.logger = slog.New(slog.NewTextHandler(io.Discard, &never))
	}
	if o.observer == nil {
		o.observer = func(Event) {}
	}
	o.name = text(o.name, longestName)
	var err error
	if o.budget, err = o.budget.withDefaults(); err != nil {
		return o, err
	}
	switch {
	case o.socket == "":
		return o, fmt.Errorf("memgov: the socket's path is empty")
	case len(o.socket) > longestSocket:
		return o, fmt.Errorf("memgov: the socket's path is longer than %d bytes: %q", longestSocket, o.socket)
	}
	return o, nil
}

// text makes a string fit for the wire, which takes valid UTF-8 only.
func text(s string, longest int) string {
	if len(s) > longest {
		s = s[:longest]
	}
	return strings.ToValidUTF8(s, "")
}
