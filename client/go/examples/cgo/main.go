//go:build cgo && linux

// cgo is a program with two heaps: C code that has freed memory which glibc keeps, and Go code that has dropped memory
// which the runtime keeps. Attached to the governor, both are given back when they are needed.
//
//	cgo [MiB in each [LIBRARY]]
//
// It prints a JSON line when it holds them, and ends at the end of its standard input or with SIGTERM; exit status 0 when
// all data that stayed was right. LIBRARY is the file of libmemgov, if it is not installed;
// an argument and no variable of the environment, because it is code that the program runs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	memgov "github.com/memgov/memgov/client/go"
	"github.com/memgov/memgov/client/go/cgoheap"
	"github.com/memgov/memgov/client/go/internal/chold"
)

const mib = 1 << 20

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cgo:", err)
		os.Exit(1)
	}
}

func run() error {
	each := 100
	if len(os.Args) > 1 {
		var err error
		if each, err = strconv.Atoi(os.Args[1]); err != nil {
			return err
		}
	}
	library := ""
	if len(os.Args) > 2 {
		library = os.Args[2]
	}
	ending, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	stop, err := memgov.Start(context.Background())
	if err != nil {
		return err
	}
	stopC, err := cgoheap.Start(cgoheap.Options{Library: library})
	if err != nil {
		return err
	}
	chold.Retain(each * mib)
	live := retain(each)
	fmt.Printf("{\"ready\":true,\"pid\":%d}\n", os.Getpid())
	<-ending.Done()
	stopC()
	if err := stop(); err != nil {
		return err
	}
	for i, block := range live {
		if block[mib-1] != byte(i) {
			return fmt.Errorf("block %d is wrong", i)
		}
	}
	if !chold.Right() {
		return fmt.Errorf("the data of the C code is wrong")
	}
	return nil
}

// retain keeps a tenth of the blocks that it fills.
func retain(count int) (live [][]byte) {
	blocks := make([][]byte, count)
	for i := range blocks {
		blocks[i] = make([]byte, mib)
		for j := range blocks[i] {
			blocks[i][j] = byte(i / 10)
		}
		if i%10 == 0 {
			live = append(live, blocks[i])
		}
	}
	runtime.KeepAlive(blocks)
	return live
}
