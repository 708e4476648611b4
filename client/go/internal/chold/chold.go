//go:build cgo && linux

// Package chold is C code that holds memory, for tests: cgo is not to be had in a test itself.
package chold

/*
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static char** blocks;
static int count;

// Fills, then frees all but one in a hundred: glibc keeps what is between those.
static void retain(int many, int bytes) {
  blocks = calloc(many, sizeof(char*));
  count = many;
  for (int i = 0; i < many; ++i) {
    blocks[i] = malloc(bytes);
    memset(blocks[i], i % 251, bytes);
  }
  for (int i = 0; i < many; ++i) {
    if (i % 100 == 99) continue;
    free(blocks[i]);
    blocks[i] = NULL;
  }
}

static int right(int bytes) {
  for (int i = 0; i < count; ++i) {
    for (int at = 0; blocks[i] != NULL && at < bytes; ++at) {
      if ((unsigned char)blocks[i][at] != i % 251) return 0;
    }
  }
  return 1;
}

static void wait_in_libc(int ms) { poll(NULL, 0, ms); }
*/
import "C"

const blockBytes = 2000

// Retain leaves `bytes` of freed memory in the C heap.
func Retain(bytes int) { C.retain(C.int(bytes/blockBytes), blockBytes) }

// Right tells whether the data that stayed is what it was.
func Right() bool { return C.right(blockBytes) != 0 }

// Wait waits in libc, as C code does.
func Wait(ms int) { C.wait_in_libc(C.int(ms)) }
