/* Watches the process's own cgroup for want of memory. Time is a parameter.
 *
 * Two kinds of signs, because neither sees what the other does. How near usage is to the limit, without page
 * cache that the kernel takes back by itself: what ends in a kill. It is read through kept descriptors, the
 * more often the nearer the limit is, and the kernel's own alarms (memory.events on v2, a threshold on v1)
 * only say that now is a good moment to read. And stalls (PSI): tasks wait for memory, while usage may stand
 * still behind memory.high or the page cache thrashes. That is systemd's MEMORY_PRESSURE_WATCH when it is
 * there, else the memory.pressure of our own cgroup. For the agent thread; nothing here mallocs. */

#ifndef MEMGOV_CLIENT_C_LOCAL_WATCH_H_
#define MEMGOV_CLIENT_C_LOCAL_WATCH_H_

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/c/local/own_cgroup.h"
#include "client/c/memgov.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MG_WATCH_POLLED_MAX = 2 + MG_LEVELS_MAX };

/* What the service manager handed over in the environment (systemd's MEMORY_PRESSURE protocol). */
typedef struct mg_stall_source {
  bool off;           /* MEMORY_PRESSURE_WATCH=/dev/null: no watching is wanted at all */
  char path[256];     /* empty: nothing was handed over, or it cannot be used */
  char problem[96];   /* ... why it cannot be used, or empty */
  uint8_t write[256]; /* to be written into it once it is open */
  size_t write_size;
} mg_stall_source;

/* From the values of MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE, each NULL if it is not set. */
void mg_stall_source_parse(mg_stall_source* source, const char* watch, const char* write);

typedef struct mg_domain {
  int usage_fd;
  int limit_fd;
  int high_fd; /* v2: memory.high */
  int events_fd;
  int stat_fd;
  uint64_t limit_bytes; /* as last read */
} mg_domain;

typedef enum mg_stall_kind {
  MG_STALLS_NONE = 0,
  MG_STALLS_TRIGGER, /* a PSI file with a trigger: POLLPRI */
  MG_STALLS_STREAM,  /* a FIFO or a socket: POLLIN */
  MG_STALLS_TOTAL    /* a PSI file that we may only read: its total is compared */
} mg_stall_kind;

typedef struct mg_watch {
  mg_own_cgroup own;
  mg_domain domains[MG_LEVELS_MAX];
  mg_stall_kind stalls;
  int stalls_fd;
  bool handed_over;    /* it is the service manager's */
  bool source_failed;  /* what was handed over told an error: do not use it again */
  const char* refused; /* why what was handed over is not used; NULL: it is, or there is none */
  int threshold_fd;    /* v1: an eventfd that rings when usage crosses the wire */

  bool lost;              /* what was open has gone, or a limit has changed: open anew */
  bool short_of_memory;   /* for hysteresis */
  const uint8_t* written; /* into a stream; in the source */
  size_t written_size;
  uint64_t stalled_until_ns;
  uint64_t total_us; /* MG_STALLS_TOTAL */
  uint64_t total_at_ns;
  uint64_t opened_at_ns;
  uint64_t deaf_until_ns;  /* to stalls_fd: the end of a stream, or an error, is told without end */
  uint64_t alarms_from_ns; /* before this time alarms are not listened to */
  uint64_t next_ns;
} mg_watch;

/* What is wanted of the process now. */
typedef struct mg_need {
  memgov_level level; /* CALM: nothing; WAKE, CRITICAL */
  uint64_t bytes;     /* to bring usage down to where calm begins; 0: stalls do not tell */
  char why[160];      /* "memory.usage at 87 % of 512 MiB (/sys/fs/cgroup/memory/app)" */
} mg_need;

/* Before the first open. */
void mg_watch_init(mg_watch* watch);

/* Opens what there is, closing what was open. False: there is nothing to watch. `proc` as for
 * mg_own_cgroup_find(). */
bool mg_watch_open(mg_watch* watch, const mg_stall_source* source, const char* proc, uint64_t now_ns);

/* A part of it (stalls.c): opens what tells of stalls. */
void mg_stalls_open(mg_watch* watch, const mg_stall_source* source, uint64_t now_ns);

/* Closes everything. Async-signal-safe. */
void mg_watch_close(mg_watch* watch);

/* What is wrong with what was handed over; empty: nothing. */
const char* mg_watch_problem(const mg_watch* watch, const mg_stall_source* source);

/* "usage of 2 cgroups with a limit (v1), stalls from /run/x". */
void mg_watch_describe(const mg_watch* watch, const mg_stall_source* source, char* text, size_t size);

/* Descriptors to poll for alarms; returns how many. Then mg_watch_heard() with the same ones. */
size_t mg_watch_polled(const mg_watch* watch, uint64_t now_ns, struct pollfd polled[MG_WATCH_POLLED_MAX]);
void mg_watch_heard(mg_watch* watch, const struct pollfd* polled, size_t count, uint64_t now_ns);

/* Reads; sets next_ns, when it wants to be read again. */
mg_need mg_watch_read(mg_watch* watch, uint64_t now_ns);

#ifdef __cplusplus
}
#endif

#endif
