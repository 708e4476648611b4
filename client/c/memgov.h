/* libmemgov: lets a process give memory back when its node's governor asks for it.
 *
 *   memgov_start(NULL);   // near the start of main()
 *   ...
 *   memgov_stop();        // optional; undoes everything
 *
 * One background thread keeps a session with the governor (memgovd) over a Unix socket, tells it how much
 * memory the allocator holds without need, and carries out its directives through the allocator that the
 * process uses: glibc's malloc, jemalloc, gperftools' or google's tcmalloc, or mimalloc (client/README.md has
 * the table).
 * Without a governor it does nothing, quietly; or, if that is switched on, watches its own cgroup (rule 13).
 *
 * Rules of this interface:
 *
 *  1. Every function may be called from any thread, except where rule 6 says otherwise. None blocks on the
 *     governor: memgov_start() returns before the session is up, memgov_stop() waits at most for the one
 *     directive that is being carried out (of a shed: for the one hook that is running).
 *  2. Functions that can fail return 0 or a positive errno value. None prints, aborts, exits or raises a
 *     signal.
 *  3. Starts are counted. The first start decides the options; further ones only count, and their options
 *     are not used. The session ends at the stop that matches the first start. A stop too many does nothing.
 *  4. Structures grow at their end only. The caller stores sizeof the structure in `size`; the library reads
 *     no field beyond it, and takes missing ones as 0. Set every field that you do not use to 0 or NULL
 *     (MEMGOV_OPTIONS_INIT does).
 *  5. Strings are UTF-8, terminated by 0. The library copies those it is given. Those in an event live until
 *     the callback returns and are never NULL.
 *  6. Callbacks, pressure hooks among them, run on the agent thread, one at a time, never under a lock of the
 *     library, with about 64 KiB of stack and with asynchronous signals blocked. While one runs no directive
 *     is carried out, so keep it short. From a callback memgov_start() returns EDEADLK and memgov_stop() does
 *     nothing. Callbacks must not throw. After memgov_stop() has returned none runs any more: call it before
 *     what the callbacks use goes away, at the latest before exit() destroys it.
 *  7. What a directive changes ends with its time to live, at memgov_stop(), or never begins: settings that
 *     the user made explicitly (for example by MALLOC_CONF) are left alone.
 *  8. A child of fork() is detached: it has no agent, no connection, and a start count of 0; it attaches
 *     when it calls memgov_start(). Nothing is inherited over exec. Hooks stay registered in the child, as
 *     its copy of the caches stays; they are called when the child has attached.
 *  9. The library is never unloaded by dlclose().
 * 10. Environment: MEMGOV_DISABLE (set, not empty, not "0") switches the library off: memgov_start() returns
 *     0 and does nothing. MEMGOV_SOCKET is the socket's path when the options have none. MEMGOV_LOG=1 writes
 *     log lines to standard error when the options have no log callback. MEMGOV_LOCAL switches the watch of
 *     rule 13 on, "0" off, whatever the options say. The variables are read by the first start. A program
 * that has more rights than who started it (set-user-ID, file capabilities) takes no variable from there.
 * 11. Pressure hooks may be registered and unregistered at any time: before memgov_start(), without it, after
 *     memgov_stop(), from several threads, and from a hook. They outlive memgov_stop() and are called again
 *     after the next start. memgov_off_pressure() waits for a call of this hook that is running: do not hold
 *     a lock that the hook takes. When it has returned the hook is not called any more, and what it uses may
 *     go away. From the hook itself it returns at once, and the hook is not called again.
 * 12. The first hook gives the process the ability to shed, the last one takes it. Who is attached at that
 *     moment says so by a new session in the old one's place, after a second or three: the governor sees a
 *     client leave and come, the program new events CONNECTED and WELCOMED, memgov_status() nothing. Hooks
 *     that are registered before memgov_start() spare that.
 * 13. With options->local or MEMGOV_LOCAL=1 a process that no governor has welcomed within 1 s of its start,
 *     or for 10 s since the session ended, watches its own cgroup. It acts when usage without inactive page
 *     cache reaches 85 % of a limit (memory.max, memory.high, or v1's, its own or an ancestor's), until that
 *     is below 80 %; or when tasks wait for memory (memory.pressure, or what systemd hands over in
 *     MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE). Then it does by itself what a governor would ask
 *     for: release mode eager for 30 s at a time; releases of 64 MiB with a stall bound of 100 ms as long as
 *     they give; and when they give nothing more and memory keeps short (of stalls: for 2 s) the pressure
 *     hooks. What gives nothing is repeated after 1 s, doubling to 60 s. A Welcome, also one that only
 *     observes, ends that at once: the mode is restored, and nothing is watched. systemd's word for "do
 *     not", MEMORY_PRESSURE_WATCH=/dev/null, switches the watch off. All on the agent thread, with the
 *     callbacks' rules (6). It costs a few descriptors while it watches; rule 8 holds for them.
 * 14. Obeyed is a governor that runs as root or as the user of this process, and within bounds that an honest
 * one keeps (client/README.md, "Whom a client trusts"). Else DISCONNECTED says why, and it is tried again
 * later.
 */

#ifndef MEMGOV_CLIENT_C_MEMGOV_H_
#define MEMGOV_CLIENT_C_MEMGOV_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEMGOV_EXPORT __attribute__((visibility("default")))

/* Used when neither the options nor MEMGOV_SOCKET name a path. */
#define MEMGOV_DEFAULT_SOCKET "/run/memgov/memgov.sock"

typedef enum memgov_state {
  MEMGOV_OFF = 0,           /* not started, stopped, or switched off by MEMGOV_DISABLE */
  MEMGOV_NOT_CONNECTED = 1, /* started; no governor has welcomed us, we keep trying */
  MEMGOV_OBSERVING = 2,     /* welcomed; the governor watches and sends no directive */
  MEMGOV_ENFORCING = 3      /* welcomed; directives may come */
} memgov_state;

typedef enum memgov_event_kind {
  MEMGOV_EVENT_CONNECTED = 1, /* the socket is connected. text: its path */
  MEMGOV_EVENT_WELCOMED = 2,  /* text: our cgroup as the governor sees it; enforcing */
  MEMGOV_EVENT_DIRECTIVE = 3, /* a directive arrived. text: the governor's reason; id, action, bytes, level */
  MEMGOV_EVENT_OUTCOME = 4,   /* ... and was answered. text: why, if not done
                               * or cut short by the stall bound; of a shed: which hook gave what;
                               * id to wall_ns are set */
  MEMGOV_EVENT_DISCONNECTED = 5, /* not, or no longer, in a session. text: why; told once */
  MEMGOV_EVENT_REVERTED = 6,     /* a time to live ended. text: what was restored; action */
  MEMGOV_EVENT_LOCAL_WATCH = 7,  /* the watch of rule 13 began, ended, or cannot begin. text: what, or why */
  MEMGOV_EVENT_LOCAL_ACTION = 8  /* ... did something. text: why, then as of OUTCOME; action to wall_ns */
} memgov_event_kind;

typedef enum memgov_action {
  MEMGOV_ACTION_NONE = 0, /* not about a directive, or one of a kind that this library does not know */
  MEMGOV_ACTION_SET_RELEASE_MODE = 1,
  MEMGOV_ACTION_RELEASE = 2,
  MEMGOV_ACTION_COLLECT = 3,
  MEMGOV_ACTION_SET_SOFT_LIMIT = 4,
  MEMGOV_ACTION_SHED = 5
} memgov_action;

/* How hard the governor presses; the protocol's Level. */
typedef enum memgov_level {
  MEMGOV_LEVEL_NONE = 0,
  MEMGOV_LEVEL_CALM = 1,
  MEMGOV_LEVEL_WAKE = 2,
  MEMGOV_LEVEL_CRITICAL = 3
} memgov_level;

typedef enum memgov_outcome {
  MEMGOV_OUTCOME_NONE = 0,
  MEMGOV_OUTCOME_DONE = 1,     /* carried out */
  MEMGOV_OUTCOME_DECLINED = 2, /* not carried out on purpose */
  MEMGOV_OUTCOME_FAILED = 3    /* tried, did not work */
} memgov_outcome;

/* Something that happened. Fields that a kind does not name above are 0. */
typedef struct memgov_event {
  size_t size; /* of this structure, as the library knows it */
  memgov_event_kind kind;
  uint64_t at_ns; /* CLOCK_MONOTONIC. Directive: when its bytes were read from the socket */
  const char* text;
  int enforcing;         /* 0 or 1 */
  uint64_t directive_id; /* unique for the life of a governor */
  memgov_action action;
  memgov_level level;
  uint64_t bytes; /* asked for */
  memgov_outcome outcome;
  uint64_t before_bytes; /* resident memory of the process before and after, from /proc/self/statm */
  uint64_t after_bytes;
  uint64_t wall_ns; /* time that carrying it out took */
} memgov_event;

typedef struct memgov_options {
  size_t size;        /* sizeof(memgov_options) */
  const char* socket; /* path of the governor's socket; NULL: MEMGOV_SOCKET, else MEMGOV_DEFAULT_SOCKET */
  const char* name;   /* shown to operators, cut to 63 bytes; NULL: the program's short name */
  void (*log)(void* user, const char* line);               /* one line for each event; NULL: none */
  void (*on_event)(void* user, const memgov_event* event); /* NULL: none */
  void* user;                                              /* handed to both callbacks */
  int local; /* not 0: without a governor watch our own cgroup (rule 13) */
} memgov_options;

#define MEMGOV_OPTIONS_INIT \
  { sizeof(memgov_options), NULL, NULL, NULL, NULL, NULL, 0 }

/* Starts the agent thread, or counts one more start (rule 3). `options` may be NULL: all defaults. Errors:
 *   EINVAL        options->size is 0 or not a size that any version of this library had
 *   ENAMETOOLONG  the socket's path is longer than 107 bytes
 *   EAGAIN, ENOMEM, EMFILE, ENFILE  the system is out of threads, memory or file descriptors
 *   EDEADLK       called from a callback
 * After an error nothing is started or counted. */
MEMGOV_EXPORT int memgov_start(const memgov_options* options);

/* Takes back one start; the last one ends the session, restores what directives changed, and joins the agent
 * thread. */
MEMGOV_EXPORT void memgov_stop(void);

/* What the governor wants of a hook. */
typedef struct memgov_pressure {
  size_t size; /* of this structure, as the library knows it */
  memgov_level level;
  uint64_t bytes;    /* to give: what was asked less what hooks before this one gave; never 0 */
  uint64_t until_ns; /* CLOCK_MONOTONIC: later it is not wanted any more; 0: there is no such time */
} memgov_pressure;

/* What a hook returns when it could not do its work. It has given nothing then, and the log says that it
 * failed. */
#define MEMGOV_HOOK_FAILED UINT64_MAX

/* A cache that can give memory up. */
typedef struct memgov_pressure_hook {
  size_t size;      /* sizeof(memgov_pressure_hook) */
  const char* name; /* for the log and the governor's operator, cut to 31 bytes; NULL: "cache" */
  int priority;     /* lower ones are asked first (equal ones in the order of their registration): give what
                     * is cheap to make again the lowest */

  /* Frees about pressure->bytes, or less, and returns how many bytes it freed; more is not needed. By the
   * rules for callbacks (6). One that takes long keeps the hooks after it from being called: come back by
   * pressure->until_ns. */
  uint64_t (*give)(void* user, const memgov_pressure* pressure);
  void* user; /* handed to give */
} memgov_pressure_hook;

#define MEMGOV_PRESSURE_HOOK_INIT \
  { sizeof(memgov_pressure_hook), NULL, 0, NULL, NULL }

/* Names one registration; never 0, and never used twice in a process. */
typedef uint64_t memgov_handle;

/* Registers a hook (rule 11). When the governor asks to shed some bytes the hooks are called in the order of
 * their priorities until so much was given, none is left, or the directive's deadline has passed; then the
 * allocator returns what they freed to the kernel. `handle` may be NULL: the hook stays for good. Errors:
 *   EINVAL  hook is NULL, hook->give is NULL, or hook->size is not a size that any version had
 *   ENOSPC  256 hooks are registered
 *   ENOMEM  the system is out of memory
 * After an error nothing is registered. */
MEMGOV_EXPORT int memgov_on_pressure(const memgov_pressure_hook* hook, memgov_handle* handle);

/* Takes the registration back and waits for a call that is running (rule 11). ENOENT: there is none of this
 * handle, or no longer. */
MEMGOV_EXPORT int memgov_off_pressure(memgov_handle handle);

/* For threads that own heaps: some of what a thread has freed only this thread can give back. Call it where
 * the thread is between two pieces of work. While nothing is wanted it costs one relaxed load and a
 * comparison; when memory was asked for since this thread's last call, it releases the thread's heap, once.
 * jemalloc: empties the thread's cache and purges the thread's arena. mimalloc: mi_collect(). gperftools
 * and google/tcmalloc: nothing. glibc: nothing, since what malloc_trim() leaves to a thread is 7 blocks of
 * each size up to 1 KiB. May be called before memgov_start(), and in programs that never call it; not
 * async-signal-safe. */
MEMGOV_EXPORT void memgov_thread_checkpoint(void);

/* The state at this moment. Async-signal-safe. */
MEMGOV_EXPORT memgov_state memgov_status(void);

/* The library's version, for example "0.1.0". Async-signal-safe. */
MEMGOV_EXPORT const char* memgov_version(void);

#ifdef __cplusplus
}
#endif

#endif /* MEMGOV_CLIENT_C_MEMGOV_H_ */
