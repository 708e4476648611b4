package main

// Holding: the service takes -size, has no use for most of it any more, and idles. Nothing makes the runtime give it back
// soon: without allocations no collection comes for two minutes, and then the background scavenger takes its time.
//
// It says {"ready":true} when it idles, then its resident size once a second. "again" on stdin: it does all that once
// more and says {"again":true}. At the end {"final":true,"errors":N}.

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"
)

// kept is the share of what was taken that stays in use: 1/kept.
const kept = 32

// holding is one way to take memory and to have no use for it any more.
type holding interface {
	takeAndDrop(size uint64)
	wrong() int // of what is still in use
}

func hold(arguments []string, ending <-chan os.Signal) int {
	flags := flag.NewFlagSet("hold", flag.ExitOnError)
	taken := size(200 << 20)
	kind := flags.String("kind", "drop", "how the memory was used: drop, scattered, channel, map or burst")
	flags.Var(&taken, "size", "memory that is taken")
	parse(flags, arguments)
	kinds := map[string]holding{"drop": &dropped{}, "scattered": &scattered{}, "channel": &queue{}, "map": table{}, "burst": &burst{}}
	held, ok := kinds[*kind]
	if !ok {
		fatal(fmt.Errorf("no kind %q", *kind))
	}

	held.takeAndDrop(uint64(taken))
	say(map[string]any{"ready": true, "pid": os.Getpid()})
	again := make(chan string)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			again <- lines.Text()
		}
	}()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ending:
			errs := held.wrong()
			say(map[string]any{"final": true, "errors": errs})
			return errs
		case <-again:
			held.takeAndDrop(uint64(taken))
			say(map[string]any{"again": true})
		case <-second.C:
			say(map[string]any{"idle": true})
		}
	}
}

func wrongOf(blocks [][]byte) (errs int) {
	for _, block := range blocks {
		if !isRight(block) {
			errs++
		}
	}
	return errs
}

// dropped is a cache that was dropped.
type dropped struct{ blocks [][]byte }

func (d *dropped) takeAndDrop(size uint64) {
	const block = 64 << 10
	d.blocks = nil
	for n := uint64(0); n < size/block; n++ {
		d.blocks = append(d.blocks, newBlock(block, n))
	}
	d.blocks = append([][]byte(nil), d.blocks[:len(d.blocks)/kept]...)
}

func (d *dropped) wrong() int { return wrongOf(d.blocks) }

// scattered drops small blocks, but one here and there stays, and with it the span in which it lies.
type scattered struct{ blocks [][]byte }

func (s *scattered) takeAndDrop(size uint64) {
	const block = 2 << 10
	s.blocks = nil
	for n := uint64(0); n < size/block; n++ {
		s.blocks = append(s.blocks, newBlock(block, n))
	}
	var stay [][]byte
	for n := 0; n < len(s.blocks); n += kept {
		stay = append(stay, s.blocks[n])
	}
	s.blocks = stay
}

func (s *scattered) wrong() int { return wrongOf(s.blocks) }

// queue is a channel that filled up, because nobody received, and was emptied. The channel itself stays.
type queue struct {
	channel chan []byte
	errs    int
}

func (q *queue) takeAndDrop(size uint64) {
	const message = 8 << 10
	n := size / message
	if q.channel == nil {
		q.channel = make(chan []byte, n)
	}
	for i := uint64(0); i < n; i++ {
		q.channel <- newBlock(message, i)
	}
	for i := uint64(0); i < n; i++ {
		if !isRight(<-q.channel) {
			q.errs++
		}
	}
}

func (q *queue) wrong() int { return q.errs }

// table is a global map whose entries are deleted one by one. Its buckets stay, its values need not.
type table struct{}

var entries = map[uint64][]byte{}

func (table) takeAndDrop(size uint64) {
	const value = 4 << 10
	for i := uint64(0); i < size/value; i++ {
		entries[i] = newBlock(value, i)
	}
	for i := range entries {
		if i%kept != 0 {
			delete(entries, i)
		}
	}
}

func (table) wrong() (errs int) {
	for i, value := range entries {
		if i != wordOf(value) || !isRight(value) {
			errs++
		}
	}
	return errs
}

// burst is a service at which many requests arrive at once. Each builds its answer from parts, in garbage of the same
// size, and all answers are there at the same time.
type burst struct {
	mutex sync.Mutex
	errs  int
}

func (b *burst) takeAndDrop(size uint64) {
	const requests, rounds = 32, 3
	for round := 0; round < rounds; round++ {
		var built, answered sync.WaitGroup
		built.Add(requests)
		answered.Add(requests)
		for i := uint64(0); i < requests; i++ {
			go func(seed uint64) {
				defer answered.Done()
				errs := b.answer(size/requests, seed, &built)
				b.mutex.Lock()
				b.errs += errs
				b.mutex.Unlock()
			}(i)
		}
		answered.Wait()
	}
}

func (b *burst) answer(size, seed uint64, built *sync.WaitGroup) int {
	const part = 16 << 10
	var parts [][]byte
	for n := uint64(0); n < size/part; n++ {
		draft := newBlock(part, seed+n)
		parts = append(parts, append([]byte(nil), draft...))
	}
	built.Done()
	built.Wait() // the slowest backend
	return wrongOf(parts)
}

func (b *burst) wrong() int { return b.errs }
