#include "client/c/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sched/types.h> /* not together with <sched.h>: both define sched_param */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_COLD
#define MADV_COLD 20 /* Linux 5.4 */
#endif

int mg_statm_open(void) { return open("/proc/self/statm", O_RDONLY | O_CLOEXEC); }

/* Parses the decimal number at *at and moves past it and one separator. */
static uint64_t take_number(const char** at) {
  uint64_t value = 0;
  while (**at >= '0' && **at <= '9') value = value * 10 + (uint64_t)(*(*at)++ - '0');
  if (**at != '\0') ++*at;
  return value;
}

mg_process mg_process_read(int statm_fd) {
  mg_process process = {.now_ns = mg_now_ns()};
  const uint64_t all_ns = mg_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  const uint64_t own_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  process.cpu_ns = all_ns > own_ns ? all_ns - own_ns : 0;

  char text[128]; /* "size resident shared ...", in pages */
  const ssize_t got = pread(statm_fd, text, sizeof(text) - 1, 0);
  if (got <= 0) return process;
  text[got] = '\0';
  const char* at = text;
  take_number(&at);
  const uint64_t resident = take_number(&at);
  const uint64_t shared = take_number(&at); /* file and shmem */
  const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  process.resident_bytes = resident * page;
  process.anon_bytes = resident > shared ? (resident - shared) * page : 0;
  return process;
}

/* MADV_COLD is a hint about pages that is refused where they are locked, and changes nothing that anybody
 * reads. */
static bool is_cold(void* page, size_t size) { return madvise(page, size, MADV_COLD) == 0; }

bool mg_process_is_locked(void) {
  const size_t size = (size_t)sysconf(_SC_PAGESIZE);
  void* const page = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  const bool future = !is_cold(page, size); /* MCL_FUTURE: what is mapped is locked at once */
  const bool known = munlock(page, size) == 0 && is_cold(page, size);
  munmap(page, size);
  if (!known) return false;
  /* MCL_CURRENT alone: the end of the heap that brk() makes is older than that, mostly. */
  const uintptr_t end = (uintptr_t)sbrk(0) & ~(uintptr_t)(size - 1);
  unsigned char in_memory = 0;
  void* const last = (void*)(end - size);
  const bool has_heap = end > size && mincore(last, size, &in_memory) == 0;
  return future || (has_heap && !is_cold(last, size));
}

void mg_ask_for_short_slices(void) {
  enum { SLICE_NS = 100 * MG_NS_PER_US };
  struct sched_attr attributes = {0};
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.sched_policy != SCHED_NORMAL && attributes.sched_policy != SCHED_BATCH) return;
  attributes.sched_runtime = SLICE_NS;
  (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}
