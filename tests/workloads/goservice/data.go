package main

// The live data of the service, and what it drops.

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand"
	"os"
)

// runBytes is the length of a run of records whose tail survives: long enough that what is dropped before it fills
// whole spans of most size classes.
const runBytes = 16 << 20

// record is an entry of the service's cache, as a decoder would have made it.
type record struct {
	sum  uint32
	data []byte
}

func (r *record) right() bool { return crc32.ChecksumIEEE(r.data) == r.sum }

// store is the live data.
type store struct {
	records []*record
	bytes   uint64
}

// grow adds records of 1 to 64 KiB until the process is `resident` bytes large. Each power of two is equally likely; the
// sequence is the same every time.
func (s *store) grow(resident uint64) {
	random := rand.New(rand.NewSource(20240229))
	for now, since := residentBytes(), 0; now < resident; {
		base := 1 << 10 << random.Intn(6)
		r := &record{data: make([]byte, base+random.Intn(base))}
		fill(r.data, random.Uint64())
		r.sum = crc32.ChecksumIEEE(r.data)
		s.records = append(s.records, r)
		s.bytes += uint64(len(r.data))
		if since += len(r.data); since >= 1<<20 {
			now, since = residentBytes(), 0
		}
	}
}

// fill writes bytes that no page of zeroes can pass for.
func fill(data []byte, word uint64) {
	for ; len(data) >= 8; data = data[8:] {
		binary.LittleEndian.PutUint64(data, word)
		word = word*6364136223846793005 + 1442695040888963407
	}
	for i := range data {
		data[i] = byte(word >> (8 * i))
	}
}

// drop forgets records until about `keep` (0 to 1) of the bytes are left: the tail of every run, or records here and
// there, so that most spans keep some live one.
func (s *store) drop(keep float64, scattered bool) {
	random := rand.New(rand.NewSource(7))
	var survivors []*record
	var bytes, inRun uint64
	for _, r := range s.records {
		size := uint64(len(r.data))
		survives := float64(inRun) >= (1-keep)*runBytes
		if scattered {
			survives = random.Float64() < keep
		}
		if inRun += size; inRun >= runBytes {
			inRun = 0
		}
		if survives {
			survivors = append(survivors, r)
			bytes += size
		}
	}
	s.records, s.bytes = survivors, bytes
}

// residentBytes reads /proc/self/statm.
func residentBytes() uint64 {
	var total, resident uint64
	file, err := os.Open("/proc/self/statm")
	if err != nil {
		fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fscan(file, &total, &resident); err != nil {
		fatal(err)
	}
	return resident * uint64(os.Getpagesize())
}
