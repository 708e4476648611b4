package main

// The service: each request builds an answer and, when it asks for it, leaves a session behind for a while. Sessions are
// small objects with pointers, as they come out of a decoder.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	memgov "github.com/memgov/memgov/client/go"
)

func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	socket := flags.String("socket", "", "where to listen")
	limit := flags.String("limit", "none", "who sets the runtime's memory limit: none (but GOMEMLIMIT), automemlimit or memgov")
	_ = flags.Parse(arguments)
	if err := setLimit(*limit); err != nil {
		fatal(err)
	}
	_ = os.Remove(*socket) // of one that was killed
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		fatal(err)
	}
	s := &service{}
	go func() { fatal(http.Serve(listener, s)) }()
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM, syscall.SIGINT)
	say(map[string]any{"ready": true, "limit": debug.SetMemoryLimit(-1)})
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case <-ending:
			s.say("final")
			return
		case <-tick.C:
			s.evict(time.Now())
			s.say("at_work")
		}
	}
}

func setLimit(who string) error {
	switch who {
	case "none":
		return nil
	case "automemlimit":
		_, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(0.9), memlimit.WithProvider(memlimit.FromCgroup),
			memlimit.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
		return err
	case "memgov":
		_, err := memgov.Start(context.Background())
		return err
	default:
		return fmt.Errorf("no such way to set a limit: %q", who)
	}
}

type entry struct {
	Name  string
	Value uint64
}

// field is 128 bytes, and a name.
type field struct {
	name   string
	values [13]uint64
	next   *field
}

type session struct {
	fields *field
	sum    uint64
	ends   time.Time
}

// service is the handler. Its sessions end in the order in which they came.
type service struct {
	mutex    sync.Mutex
	sessions []*session
	broken   int
}

// ServeHTTP answers /?seed=N&keep=KIB&ttl_ms=N.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	seed, err1 := strconv.ParseUint(query.Get("seed"), 10, 64)
	keep, err2 := strconv.Atoi(query.Get("keep"))
	ttl, err3 := strconv.Atoi(query.Get("ttl_ms"))
	if err := errors.Join(err1, err2, err3); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if keep > 0 {
		kept := newSession(seed, keep<<10, time.Now().Add(time.Duration(ttl)*time.Millisecond))
		s.mutex.Lock()
		s.sessions = append(s.sessions, kept)
		s.mutex.Unlock()
	}
	answer := make([]entry, 256)
	for i := range answer {
		answer[i] = entry{Name: strconv.FormatUint(seed, 36), Value: seed}
		seed = seed*6364136223846793005 + 1442695040888963407
	}
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%d %d\n", len(text), crc32.ChecksumIEEE(text))
}

const fieldBytes = 136

func newSession(seed uint64, bytes int, ends time.Time) *session {
	made := &session{ends: ends}
	for n := 0; n < bytes/fieldBytes; n++ {
		made.fields = &field{name: strconv.FormatUint(seed>>40, 36), next: made.fields}
		for i := range made.fields.values {
			made.fields.values[i] = seed
		}
		made.sum += seed
		seed = seed*6364136223846793005 + 1442695040888963407
	}
	return made
}

func (s *session) isRight() bool {
	sum := uint64(0)
	for f := s.fields; f != nil; f = f.next {
		sum += f.values[12]
	}
	return sum == s.sum
}

// evict drops the sessions whose time is over. Each has to be as it was made.
func (s *service) evict(now time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	over := 0
	for over < len(s.sessions) && now.After(s.sessions[over].ends) {
		if !s.sessions[over].isRight() {
			s.broken++
		}
		over++
	}
	clear(s.sessions[:over])
	s.sessions = s.sessions[over:]
}

// say prints what the service holds, and CPU seconds: of collections (not those on processors that were idle otherwise),
// of all that was used, and of all there was.
func (s *service) say(event string) {
	s.mutex.Lock()
	sessions, broken := len(s.sessions), s.broken
	s.mutex.Unlock()
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	at := func(i int) float64 { return samples[i].Value.Float64() }
	say(map[string]any{
		event: true, "sessions": sessions, "broken": broken, "processors": runtime.GOMAXPROCS(0),
		"gc_s": at(0) - at(1), "used_s": at(2) - at(3) - at(1), "live_bytes": samples[4].Value.Uint64(),
		"collections": samples[5].Value.Uint64(), "limit": debug.SetMemoryLimit(-1), "rss_bytes": residentBytes(),
	})
}

func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fatal(err)
	}
	var total, resident uint64
	if _, err := fmt.Sscan(string(text), &total, &resident); err != nil {
		fatal(err)
	}
	return resident * uint64(os.Getpagesize())
}
