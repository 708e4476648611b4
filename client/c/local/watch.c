#include "client/c/local/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/c/process.h"

#define MS(n) ((uint64_t)(n)*MG_NS_PER_MS)

/* The governor's own defaults (docs/policy.md), so that the two mean the same by need. */
enum { WAKE_PERCENT = 85, CRITICAL_PERCENT = 95, CALM_PERCENT = 80 };

static const uint64_t kStalledForNs = MS(2500); /* a trigger rings once in its window at most */
static const uint64_t kDeafForNs = MS(1000);
static const uint64_t kHeardForNs = MS(200);
enum { kReadsAtOnce = 128 };
static const uint64_t kTotalEveryNs = MS(1000);
static const uint64_t kTotalUs = 100000; /* in a second */

static const uint64_t kSoonestNs = MS(20);
static const uint64_t kPressedEveryNs = MS(50);
static const uint64_t kLatestNs = MS(1000);

/* --- opening ----------------------------------------------------------------------------------------------
 */

void mg_watch_init(mg_watch* watch) {
  *watch = (mg_watch){.stalls_fd = -1, .threshold_fd = -1};
  for (size_t i = 0; i < MG_LEVELS_MAX; ++i) {
    watch->domains[i] =
        (mg_domain){.usage_fd = -1, .limit_fd = -1, .high_fd = -1, .events_fd = -1, .stat_fd = -1};
  }
}

static void close_one(int* descriptor) {
  if (*descriptor >= 0) close(*descriptor);
  *descriptor = -1;
}

void mg_watch_close(mg_watch* watch) {
  for (size_t i = 0; i < MG_LEVELS_MAX; ++i) {
    mg_domain* const domain = &watch->domains[i];
    close_one(&domain->usage_fd);
    close_one(&domain->limit_fd);
    close_one(&domain->high_fd);
    close_one(&domain->events_fd);
    close_one(&domain->stat_fd);
  }
  close_one(&watch->stalls_fd);
  close_one(&watch->threshold_fd);
  watch->stalls = MG_STALLS_NONE;
}

static uint64_t limit_of(const mg_domain* domain) {
  uint64_t limit = UINT64_MAX;
  uint64_t high = UINT64_MAX;
  if (!mg_cgroup_read(domain->limit_fd, &limit)) return UINT64_MAX;
  if (domain->high_fd >= 0 && mg_cgroup_read(domain->high_fd, &high) && high < limit) limit = high;
  return limit;
}

static void open_domain(mg_domain* domain, const char* directory, int version) {
  if (version == 2) {
    domain->usage_fd = mg_cgroup_open(directory, "memory.current");
    domain->limit_fd = mg_cgroup_open(directory, "memory.max");
    domain->high_fd = mg_cgroup_open(directory, "memory.high");
    domain->events_fd = mg_cgroup_open(directory, "memory.events");
  } else {
    domain->usage_fd = mg_cgroup_open(directory, "memory.usage_in_bytes");
    domain->limit_fd = mg_cgroup_open(directory, "memory.limit_in_bytes");
  }
  domain->stat_fd = mg_cgroup_open(directory, "memory.stat");
  domain->limit_bytes = limit_of(domain);
}

/* v1 rings an eventfd when usage crosses a value. Where the file is read-only, reading has to do. */
static void set_threshold(mg_watch* watch, const char* directory, const mg_domain* domain) {
  char path[MG_DIRECTORY_MAX + 32];
  char line[64];
  snprintf(path, sizeof(path), "%s/cgroup.event_control", directory);
  const uint64_t wire = domain->limit_bytes / 100 * WAKE_PERCENT;
  const int control = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  if (control < 0) return;
  if (watch->threshold_fd < 0) watch->threshold_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  snprintf(line, sizeof(line), "%d %d %llu", watch->threshold_fd, domain->usage_fd, (unsigned long long)wire);
  const ssize_t written = write(control, line, strlen(line));
  (void)written; /* it is an alarm more, not the only one */
  close(control);
}

bool mg_watch_open(mg_watch* watch, const mg_stall_source* source, const char* proc, uint64_t now_ns) {
  mg_watch_close(watch);
  watch->lost = watch->handed_over = false;
  watch->deaf_until_ns = 0;
  watch->opened_at_ns = now_ns;
  watch->written_size = 0;
  watch->stalled_until_ns = 0;
  watch->next_ns = watch->alarms_from_ns = now_ns;
  mg_own_cgroup_find(&watch->own, proc);
  for (size_t i = 0; i < watch->own.levels; ++i) {
    open_domain(&watch->domains[i], watch->own.level[i], watch->own.version);
    if (watch->own.version == 1) set_threshold(watch, watch->own.level[i], &watch->domains[i]);
  }
  mg_stalls_open(watch, source, now_ns);
  return watch->own.levels > 0 || watch->stalls != MG_STALLS_NONE;
}

/* --- alarms -----------------------------------------------------------------------------------------------
 */

size_t mg_watch_polled(const mg_watch* watch, uint64_t now_ns, struct pollfd polled[MG_WATCH_POLLED_MAX]) {
  size_t count = 0;
  const bool hears = now_ns >= watch->deaf_until_ns;
  if (watch->stalls == MG_STALLS_TRIGGER && hears) {
    polled[count++] = (struct pollfd){.fd = watch->stalls_fd, .events = POLLPRI};
  } else if (watch->stalls == MG_STALLS_STREAM && hears) {
    polled[count++] = (struct pollfd){.fd = watch->stalls_fd, .events = POLLIN};
  }
  if (now_ns < watch->alarms_from_ns) return count;
  if (watch->threshold_fd >= 0) {
    polled[count++] = (struct pollfd){.fd = watch->threshold_fd, .events = POLLIN};
  }
  for (size_t i = 0; i < watch->own.levels; ++i) {
    if (watch->domains[i].events_fd < 0) continue;
    polled[count++] = (struct pollfd){.fd = watch->domains[i].events_fd, .events = POLLPRI};
  }
  return count;
}

/* A trigger rang. An error is the event too, and comes without end: the cgroup was removed, or nobody has
 * written a trigger. */
static void hear_trigger(mg_watch* watch, short events, uint64_t now_ns) {
  if ((events & (POLLERR | POLLNVAL)) == 0) {
    watch->stalled_until_ns = now_ns + kStalledForNs;
    return;
  }
  watch->lost = true;
  watch->deaf_until_ns = now_ns + kDeafForNs;
  watch->source_failed |= watch->handed_over;
}

/* Throws away what a FIFO or a socket says; that it spoke is the message, and holds for a while: one that
 * speaks a thousand times a second is heard five times. */
static void hear_stream(mg_watch* watch, uint64_t now_ns) {
  char said[512];
  ssize_t got = read(watch->stalls_fd, said, sizeof(said));
  if (got > 0 && (size_t)got == watch->written_size && memcmp(said, watch->written, (size_t)got) == 0) {
    watch->written_size = 0; /* our own words, which a FIFO gives to whoever reads first */
  } else if (got > 0) {
    watch->stalled_until_ns = now_ns + kStalledForNs;
    watch->deaf_until_ns = now_ns + kHeardForNs;
    /* All that has piled up is of now: a FIFO holds 64 KiB. */
    for (int reads = 1; reads < kReadsAtOnce && got > 0; ++reads)
      got = read(watch->stalls_fd, said, sizeof(said));
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    watch->deaf_until_ns = now_ns + kDeafForNs;
  }
}

void mg_watch_heard(mg_watch* watch, const struct pollfd* polled, size_t count, uint64_t now_ns) {
  for (size_t i = 0; i < count; ++i) {
    if (polled[i].revents == 0) continue;
    watch->next_ns = now_ns;
    if (polled[i].fd == watch->stalls_fd && watch->stalls == MG_STALLS_STREAM) {
      hear_stream(watch, now_ns);
    } else if (polled[i].fd == watch->stalls_fd) {
      hear_trigger(watch, polled[i].revents, now_ns);
    } else {
      /* Page cache may cross the wire a thousand times a second: the reading that follows decides. */
      watch->alarms_from_ns = now_ns + kSoonestNs;
      if (polled[i].fd != watch->threshold_fd) continue;
      uint64_t times = 0;
      const ssize_t got = read(watch->threshold_fd, &times, sizeof(times));
      (void)got;
    }
  }
}

/* --- reading ----------------------------------------------------------------------------------------------
 */

/* Usage of the domain that counts: what the kernel cannot take back by itself. */
static uint64_t pressing(const mg_watch* watch, const mg_domain* domain, uint64_t usage) {
  uint64_t cache = 0;
  const char* field = watch->own.version == 2 ? "inactive_file" : "total_inactive_file";
  mg_cgroup_read_field(domain->stat_fd, field, &cache);
  return usage > cache ? usage - cache : 0;
}

/* Reads one domain; makes `need` larger if this one needs more. Returns the bytes up to its wire. */
static uint64_t read_domain(mg_watch* watch, size_t index, mg_need* need) {
  mg_domain* const domain = &watch->domains[index];
  const uint64_t limit = limit_of(domain);
  uint64_t usage = 0;
  if (!mg_cgroup_read(domain->usage_fd, &usage) || limit != domain->limit_bytes || limit == 0) {
    watch->lost = true;
    return 0;
  }
  const uint64_t percent = limit / 100;
  if (usage >= percent * CALM_PERCENT) usage = pressing(watch, domain, usage);
  const uint64_t wire = percent * (watch->short_of_memory ? CALM_PERCENT : WAKE_PERCENT);
  if (usage < wire) return wire - usage;
  const memgov_level level = usage >= percent * CRITICAL_PERCENT ? MEMGOV_LEVEL_CRITICAL : MEMGOV_LEVEL_WAKE;
  const uint64_t bytes = usage - percent * CALM_PERCENT;
  if (level < need->level || (level == need->level && bytes <= need->bytes)) return 0;
  need->level = level;
  need->bytes = bytes;
  const char* const name = strrchr(watch->own.level[index], '/');
  snprintf(need->why, sizeof(need->why), "usage at %llu %% of the %llu MiB of %.64s",
           (unsigned long long)(percent == 0 ? 100 : usage / percent), (unsigned long long)(limit >> 20),
           name != NULL ? name + 1 : "");
  return 0;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234", in us. */
static void read_total(mg_watch* watch, uint64_t now_ns) {
  char text[128];
  if (now_ns < watch->total_at_ns + kTotalEveryNs) return;
  const ssize_t got = pread(watch->stalls_fd, text, sizeof(text) - 1, 0);
  text[got > 0 ? got : 0] = '\0';
  const char* const total = strstr(text, "total=");
  if (total == NULL) {
    watch->lost = true;
    return;
  }
  const uint64_t before = watch->total_us;
  const uint64_t took_ns = now_ns - watch->total_at_ns;
  watch->total_us = strtoull(total + strlen("total="), NULL, 10);
  watch->total_at_ns = now_ns;
  if (before == UINT64_MAX || watch->total_us < before) return;
  if (watch->total_us - before >= kTotalUs * (took_ns / MG_NS_PER_MS) / 1000) {
    watch->stalled_until_ns = now_ns + kStalledForNs;
  }
}

mg_need mg_watch_read(mg_watch* watch, uint64_t now_ns) {
  mg_need need = {.level = MEMGOV_LEVEL_CALM};
  uint64_t headroom = UINT64_MAX;
  for (size_t i = 0; i < watch->own.levels; ++i) {
    const uint64_t here = read_domain(watch, i, &need);
    if (here < headroom) headroom = here;
  }
  watch->short_of_memory = need.level != MEMGOV_LEVEL_CALM;
  if (watch->stalls == MG_STALLS_TOTAL) read_total(watch, now_ns);
  if (need.level == MEMGOV_LEVEL_CALM && now_ns < watch->stalled_until_ns) {
    need.level = MEMGOV_LEVEL_WAKE;
    snprintf(need.why, sizeof(need.why), "tasks wait for memory");
  }
  /* As long as growing by 1 GiB/s takes to the wire: 1 ns a byte. */
  uint64_t wait_ns = headroom < kLatestNs ? headroom : kLatestNs;
  if (wait_ns < kSoonestNs) wait_ns = kSoonestNs;
  if (need.level != MEMGOV_LEVEL_CALM) wait_ns = kPressedEveryNs;
  watch->next_ns = now_ns + wait_ns;
  return need;
}
