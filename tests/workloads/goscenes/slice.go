package main

// One large slice, allocated anew for each round: the old one is garbage before the new one is there, so that only one is
// ever in use. But the runtime collects when the heap has doubled, and the new one is being filled meanwhile.
//
// It says {"ready":true} before the first round, {"round":N,"size_mib":M} when a round is filled and right, {"final":true,"errors":N} after the
// last one, and ends when it is told to.

import (
	"flag"
	"os"
	"time"
)

func slice(arguments []string, ending <-chan os.Signal) (errs int) {
	flags := flag.NewFlagSet("slice", flag.ExitOnError)
	bytes := size(1 << 30)
	flags.Var(&bytes, "size", "of the slice in the first round")
	rounds := flags.Int("rounds", 4, "how often it is allocated")
	grow := flags.Float64("grow", 1, "each round it is so many times as large as in the one before")
	pace := flags.Duration("fill", 2*time.Second, "how long the first round takes to fill; others in proportion")
	parse(flags, arguments)

	perSecond := float64(bytes) / pace.Seconds()
	wanted := float64(bytes)
	say(map[string]any{"ready": true})
	for round := 1; round <= *rounds; round++ {
		data := make([]byte, int(wanted)&^7)
		if !fillSlowly(data, uint64(round), perSecond, ending) {
			return errs
		}
		if !isRight(data) {
			errs++
		}
		say(map[string]any{"round": round, "size_mib": mib(uint64(len(data))), "collections": number("/gc/cycles/total:gc-cycles")})
		wanted *= *grow
	}
	say(map[string]any{"final": true, "errors": errs})
	<-ending
	return errs
}

// fillSlowly fills data as it arrives, so many bytes a second. False: the scene ends.
func fillSlowly(data []byte, seed uint64, perSecond float64, ending <-chan os.Signal) bool {
	const step = 1 << 20
	begun := time.Now()
	word := seed
	for at := 0; at < len(data); at += step {
		word = fill(data[at:min(at+step, len(data))], word)
		due := begun.Add(time.Duration(float64(at) / perSecond * float64(time.Second)))
		select {
		case <-ending:
			return false
		case <-time.After(time.Until(due)):
		}
	}
	return true
}
