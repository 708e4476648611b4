package main

// What a service should offer anyway, for docs/is-it-a-leak.md: profiles, and where its memory is.

import (
	"fmt"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime/metrics"
	"strings"
)

// serveDebug listens where GOSCENES_DEBUG says (127.0.0.1:6060), if it does.
func serveDebug() {
	address := os.Getenv("GOSCENES_DEBUG")
	if address == "" {
		return
	}
	http.HandleFunc("/debug/memory", sayMemory)
	go func() { fatal(http.ListenAndServe(address, nil)) }()
}

// sayMemory prints the runtime's memory metrics in MiB, and what the process has resident. It does not stop the world.
func sayMemory(w http.ResponseWriter, _ *http.Request) {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		heap := strings.HasPrefix(d.Name, "/memory/classes/") || strings.HasPrefix(d.Name, "/gc/heap/live") ||
			strings.HasPrefix(d.Name, "/gc/gomemlimit")
		if heap && d.Kind == metrics.KindUint64 {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(samples)
	for _, sample := range samples {
		fmt.Fprintf(w, "%-45s %10.1f\n", sample.Name, mib(sample.Value.Uint64()))
	}
	fmt.Fprintf(w, "%-45s %10.1f\n", "resident", mib(residentBytes()))
}
