package main

// Data that can be told from a page of zeroes, and flags for its sizes.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// fill writes words that follow from seed, the first of them, and returns the one that would be next.
func fill(data []byte, seed uint64) uint64 {
	word := seed
	for ; len(data) >= 8; data = data[8:] {
		binary.LittleEndian.PutUint64(data, word)
		word = next(word)
	}
	return word
}

// isRight tells whether all words still follow from the first.
func isRight(data []byte) bool {
	if len(data) < 8 {
		return true
	}
	for word := binary.LittleEndian.Uint64(data); len(data) >= 8; data = data[8:] {
		if binary.LittleEndian.Uint64(data) != word {
			return false
		}
		word = next(word)
	}
	return true
}

// wordOf is the seed of data that is right.
func wordOf(data []byte) uint64 { return binary.LittleEndian.Uint64(data) }

func next(word uint64) uint64 { return word*6364136223846793005 + 1442695040888963407 }

func newBlock(size int, seed uint64) []byte {
	block := make([]byte, size)
	fill(block, seed)
	return block
}

// size is a flag like 300MiB.
type size uint64

func (s *size) String() string { return fmt.Sprintf("%gMiB", float64(*s)/(1<<20)) }

func (s *size) Set(text string) error {
	for _, unit := range []struct {
		suffix string
		bytes  float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if number, ok := strings.CutSuffix(text, unit.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil || !(n >= 0 && n*unit.bytes < 1<<40) {
				return fmt.Errorf("%q is no size", text)
			}
			*s = size(n * unit.bytes)
			return nil
		}
	}
	return errors.New("a size needs a unit: KiB, MiB or GiB")
}
