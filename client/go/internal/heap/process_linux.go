package heap

// What the kernel says of this process: resident memory and CPU time.

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const statm = "/proc/self/statm"

// Resident returns the resident bytes of this process.
func Resident() (uint64, error) {
	text, err := os.ReadFile(statm)
	if err != nil {
		return 0, err
	}
	return parseStatm(string(text), uint64(os.Getpagesize()))
}

// parseStatm reads the second field, resident pages (proc(5)).
func parseStatm(text string, pageSize uint64) (uint64, error) {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s: no resident size in %.64q", statm, text)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", statm, err)
	}
	return pages * pageSize, nil
}

const rusageThread = 1 // RUSAGE_THREAD of getrusage(2)

// threadTime is the CPU time of the calling thread so far.
func threadTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
