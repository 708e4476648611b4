// lazy_holder holds memory that it has freed with MADV_FREE, as allocators do that release lazily, and links
// no client: the kernel may take it at any time, but without pressure never does.
//
//     lazy_holder LAZY_MIB LIVE_MIB [CACHE_FILE CACHE_MIB]
//
// Writes LAZY_MIB + LIVE_MIB of anonymous memory, frees the first part, and from then on verifies the live
// part once a second. With a CACHE_FILE, writes and maps that too, so that it is in the page cache of our
// cgroup. stdout, one JSON object a line: {"ready":true,...}, {"work_done":N,...} once a second,
// {"final":true,...} on SIGTERM. Exit status 0 only when all data was right.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const size_t kPage = 4096;

static void Fail(const char* doing) {
  fprintf(stderr, "lazy_holder: %s: %s\n", doing, strerror(errno));
  exit(2);
}

static size_t Mib(const char* text) {
  char* end = NULL;
  errno = 0;
  const unsigned long mib = strtoul(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || mib > 1024UL * 1024) {
    fprintf(stderr, "lazy_holder: \"%s\" is not a number of MiB\n", text);
    exit(2);
  }
  return mib << 20;
}

static double ResidentMib(void) {
  unsigned long total = 0;
  unsigned long resident = 0;
  FILE* const file = fopen("/proc/self/statm", "re");
  if (file == NULL || fscanf(file, "%lu %lu", &total, &resident) != 2) Fail("reading statm");
  fclose(file);
  return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void Write(unsigned char* memory, size_t size) {
  for (size_t at = 0; at < size; at += kPage) memory[at] = (unsigned char)(at / kPage % 255 + 1);
}

static size_t Wrong(const unsigned char* memory, size_t size) {
  size_t wrong = 0;
  for (size_t at = 0; at < size; at += kPage) wrong += memory[at] != (unsigned char)(at / kPage % 255 + 1);
  return wrong;
}

static void FillCache(const char* name, size_t size) {
  static char content[1 << 20];
  memset(content, 'c', sizeof(content));
  const int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) Fail(name);
  for (size_t done = 0; done < size;) {
    const ssize_t written = write(fd, content, sizeof(content));
    if (written <= 0) Fail(name);
    done += (size_t)written;
  }
  if (fsync(fd) != 0 || close(fd) != 0) Fail(name);
}

int main(int argc, char** argv) {
  if (argc != 3 && argc != 5) {
    fputs("usage: lazy_holder LAZY_MIB LIVE_MIB [CACHE_FILE CACHE_MIB]\n", stderr);
    return 2;
  }
  const size_t lazy = Mib(argv[1]);
  const size_t live = Mib(argv[2]);
  if (argc == 5) FillCache(argv[3], Mib(argv[4]));
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  sigprocmask(SIG_BLOCK, &ending, NULL);

  if (lazy + live == 0) return 0;
  unsigned char* const memory =
      mmap(NULL, lazy + live, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mapping memory");
  Write(memory, lazy);
  Write(memory + lazy, live);
  const double grown = ResidentMib();
  if (lazy > 0 && madvise(memory, lazy, MADV_FREE) != 0) Fail("madvise(MADV_FREE)");
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("{\"ready\":true,\"pid\":%d,\"grown_mib\":%.1f,\"rss_mib\":%.1f}\n", (int)getpid(), grown,
         ResidentMib());

  size_t errors = 0;
  const struct timespec second = {.tv_sec = 1};
  for (unsigned long rounds = 1;; ++rounds) {
    const bool end = sigtimedwait(&ending, NULL, &second) > 0;
    errors += Wrong(memory + lazy, live);
    printf("{%s\"work_done\":%lu,\"errors\":%zu,\"rss_mib\":%.1f}\n", end ? "\"final\":true," : "", rounds,
           errors, ResidentMib());
    if (end) return errors == 0 ? 0 : 1;
  }
}
