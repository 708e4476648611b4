//go:build cgo && linux

// Package cgoheap lets the governor release the C heap of a cgo program as well.
//
//	stop, err := memgov.Start(ctx)
//	stopC, err := cgoheap.Start(cgoheap.Options{})
//
// Go's runtime knows nothing of what C code gets from malloc, and libmemgov, the C client, nothing of Go's heap. So each
// attaches for itself: the governor sees two clients in one process and asks the one that holds what it needs. This
// package finds libmemgov and starts it. It is the only one of this module that needs cgo; nothing else imports it.
//
// A preloaded libmemgov_preload.so needs no call: it attaches the C heap by itself, as soon as C code of the program waits
// in libc (poll, read, sleep, ...). Go waits by system calls of its own, so where C code never waits, use this package
// instead.
package cgoheap

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// memgov_options of memgov.h, as in its first version; structures of that interface grow at their end only.
typedef struct {
  size_t size;
  const char* socket;
  const char* name;
  void* log;
  void* on_event;
  void* user;
} options;

static int (*memgov_start)(const options*);
static void (*memgov_stop)(void);

// NULL, or why the library is not to be had.
static const char* find(const char* library) {
  if (memgov_start != NULL) return NULL;
  void* found = RTLD_DEFAULT;
  if (dlsym(found, "memgov_start") == NULL) {
    found = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    if (found == NULL) return dlerror();
  }
  void* stop = dlsym(found, "memgov_stop");
  void* start = dlsym(found, "memgov_start");
  if (start == NULL || stop == NULL) return "the library has no memgov_start and memgov_stop";
  memgov_stop = (void (*)(void))stop;
  memgov_start = (int (*)(const options*))start;
  return NULL;
}

static int start(const char* socket, const char* name) {
  const options chosen = {.size = sizeof(options), .socket = socket, .name = name};
  return memgov_start(&chosen);
}

static void stop(void) { memgov_stop(); }
*/
import "C"

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"
)

// Options change what Start does by default.
type Options struct {
	Socket  string // of the governor; the default is MEMGOV_SOCKET, else /run/memgov/memgov.sock
	Name    string // what people see of this client; the default is the program's short name
	Library string // the file of libmemgov, where it is neither linked nor preloaded; the default is libmemgov.so.0
}

var finding sync.Mutex

// Start attaches the C heap of this process, and returns at once. The error says that there is no libmemgov, or what it
// objects to; the program can go on without it. Starts are counted as libmemgov counts them: the first one's options
// hold, and the C heap stays attached until each has been stopped. stop undoes what was changed; further calls of it do
// nothing. Both may be called from any goroutine.
func Start(o Options) (stop func(), err error) {
	if o.Library == "" {
		o.Library = "libmemgov.so.0"
	}
	if err := find(o.Library); err != nil {
		return nil, err
	}
	socket, name := cString(o.Socket), cString(o.Name)
	defer C.free(unsafe.Pointer(socket))
	defer C.free(unsafe.Pointer(name))
	if errno := C.start(socket, name); errno != 0 {
		return nil, fmt.Errorf("cgoheap: memgov_start: %w", syscall.Errno(errno))
	}
	return sync.OnceFunc(func() { C.stop() }), nil
}

func find(library string) error {
	finding.Lock()
	defer finding.Unlock()
	file := C.CString(library)
	defer C.free(unsafe.Pointer(file))
	if why := C.find(file); why != nil {
		return fmt.Errorf("cgoheap: no libmemgov: %s", C.GoString(why))
	}
	return nil
}

// cString returns nil for an empty string, which libmemgov takes for its default.
func cString(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}
