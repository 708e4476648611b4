package main

// The load: requests at times that are fixed beforehand, whatever becomes of the earlier ones. A latency counts from the
// time at which a request was due, so one that had to wait for its turn is slow, and not left out.

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

type plan struct {
	total, ttl  time.Duration
	calm, burst float64 // requests a second
	bursts      []span
	keep        kib
	inFlight    int
	patience    time.Duration
}

type span struct{ from, to time.Duration }

func load(arguments []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	p := plan{keep: 512}
	socket := flags.String("socket", "", "of the service")
	flags.DurationVar(&p.total, "for", 36*time.Second, "how long")
	flags.Float64Var(&p.calm, "calm", 5, "requests a second; they leave no session")
	flags.Float64Var(&p.burst, "burst", 120, "requests a second in a burst; each leaves a session")
	flags.Var(&p.keep, "keep", "size of a session")
	flags.DurationVar(&p.ttl, "ttl", 4*time.Second, "how long a session lasts")
	flags.IntVar(&p.inFlight, "in-flight", 256, "requests that wait for an answer at a time; more are refused")
	flags.DurationVar(&p.patience, "patience", 5*time.Second, "a request that takes longer has failed")
	flags.Func("bursts", "from-to, in turn, as in 3s-9s,13s-19s", func(text string) (err error) {
		p.bursts, err = spans(text)
		return err
	})
	_ = flags.Parse(arguments)
	say(p.run(*socket))
}

func spans(text string) (found []span, err error) {
	for _, one := range strings.Split(text, ",") {
		from, to, ok := strings.Cut(one, "-")
		begins, err1 := time.ParseDuration(from)
		ends, err2 := time.ParseDuration(to)
		if !ok || err1 != nil || err2 != nil || ends <= begins {
			return nil, fmt.Errorf("%q is no span", one)
		}
		found = append(found, span{begins, ends})
	}
	return found, nil
}

func (p *plan) run(socket string) map[string]any {
	client := &http.Client{
		Timeout: p.patience,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: p.inFlight,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}
	var mutex sync.Mutex
	var running sync.WaitGroup
	var latencies []int64
	planned, failed := 0, 0
	slots := make(chan struct{}, p.inFlight)
	begun := time.Now()
	for due := time.Duration(0); due < p.total; planned++ {
		time.Sleep(time.Until(begun.Add(due)))
		inBurst := p.inBurst(due)
		select {
		case slots <- struct{}{}:
			running.Add(1)
			go func(url string, due time.Time) {
				defer running.Done()
				err := get(client, url)
				took := time.Since(due)
				<-slots
				mutex.Lock()
				defer mutex.Unlock()
				if err != nil {
					failed++
				} else {
					latencies = append(latencies, took.Microseconds())
				}
			}(p.url(planned, inBurst), begun.Add(due))
		default:
			mutex.Lock()
			failed++
			mutex.Unlock()
		}
		rate := p.calm
		if inBurst {
			rate = p.burst
		}
		due += time.Duration(float64(time.Second) / rate)
	}
	running.Wait()
	return map[string]any{"final": true, "planned": planned, "done": len(latencies), "failed": failed, "latencies_us": latencies}
}

func (p *plan) inBurst(at time.Duration) bool {
	for _, burst := range p.bursts {
		if burst.from <= at && at < burst.to {
			return true
		}
	}
	return false
}

func (p *plan) url(seed int, keep bool) string {
	kept := kib(0)
	if keep {
		kept = p.keep
	}
	return fmt.Sprintf("http://service/?seed=%d&keep=%d&ttl_ms=%d", seed, int(kept), p.ttl.Milliseconds())
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	return nil
}
