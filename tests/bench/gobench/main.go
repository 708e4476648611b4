// Command gobench is an HTTP service on a Unix socket, and who sends it requests:
//
//	gobench serve -socket PATH -limit none|automemlimit|memgov
//	gobench load -socket PATH -for 36s -bursts 3s-9s,13s-19s
//
// All builds of the service are one, so that what is compared differs in nothing but who sets its memory limit.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

func main() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "serve":
		serve(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "load":
		load(os.Args[2:])
	default:
		fatal(fmt.Errorf("usage: gobench serve|load [-flag ...]"))
	}
}

func say(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		fatal(err)
	}
	_, _ = os.Stdout.Write(append(text, '\n'))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "gobench:", err)
	os.Exit(2)
}

// kib is a flag like 480KiB.
type kib int

func (k *kib) String() string { return fmt.Sprintf("%dKiB", int(*k)) }

func (k *kib) Set(text string) error {
	number, ok := strings.CutSuffix(text, "KiB")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 {
		return fmt.Errorf("%q is no size in KiB", text)
	}
	*k = kib(n)
	return nil
}
