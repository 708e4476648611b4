/* libmemgov_preload.so joins a program that nobody rebuilt:
 *
 *     LD_PRELOAD=libmemgov_preload.so PROGRAM
 *
 * The variable is inherited by all that the program runs: shells, git, compilers, helpers that live for
 * milliseconds, and programs that first enter a user namespace or a sandbox, for which a process must have
 * one thread. So nothing starts with the process. The constructor notes the time, and the first call of a
 * waiting function (waits.c) at least SETTLE_MS later attaches: by then the process lives long enough to
 * matter, and in a wait it stands between two pieces of work, not in a fork handler, in the middle of an
 * allocation, or under the loader's lock.
 *
 * No thread and no timer brings it about: a thread would be in every process, and a signal would interrupt
 * the program's system calls. What is left are the functions that it calls. Shells wait for children all
 * day, helpers read lines: there, and in stdio's output, which is all that some long computations call
 * (stdio.c), a process is attached only if it holds LARGE bytes, so that there is something to give. One that
 * does already when it enters a wait without end need not settle: it may never come back from there.
 *
 * A child of fork() begins the same way. Its fork handler only notes the time, so a child that executes
 * another program, or saves a snapshot and exits, never gets an agent, and a daemon or a worker does. In a
 * child of vfork() nothing happens: the memory is its parent's, and the process id tells.
 *
 * If the program starts libmemgov itself, the agent in here gives way to the program's, whose options hold;
 * that one counts our start beside its own (memgov.c), so that there is one session in all cases. */

#include "client/c/preload/preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/c/environment.h"
#include "client/c/memgov.h"
#include "client/c/process.h"

#define MS(n) ((uint64_t)(n)*MG_NS_PER_MS)

enum { SETTLE_MS = 100, AGAIN_AFTER_FAILURE_MS = 10000 };

/* Resident anonymous memory; an agent needs less than a hundredth of it. It is looked at now and then, since
 * that takes 10 us: more often in a process that has just begun. */
static const uint64_t kLarge = 16u << 20;
enum { LOOK_WHILE_NEW_MS = 10, LOOK_MS = 100 };

typedef enum phase {
  STANDS_ASIDE = 0, /* switched off, or the program has more rights than who started it */
  WAITS,            /* for a wait after mg_preload_due_ns */
  ATTACHES,         /* one thread is in memgov_start() */
  ATTACHED,
  GAVE_WAY /* to the program's own libmemgov */
} phase;

_Atomic uint64_t mg_preload_due_ns;
static atomic_int g_phase;
static pid_t g_pid;   /* constant but in the child of a fork, where one thread runs when it changes */
static bool g_forked; /* like g_pid: this process began with fork() and has not executed anything since */
static _Atomic uint64_t g_look_ns; /* CLOCK_MONOTONIC from when on to look how large the process is */
static _Thread_local bool t_attaches;

/* What the program was started with. nginx, for one, takes the environment away from its workers and writes
 * titles over its name. */
static char g_socket[108]; /* empty: the default */
static char g_name[64];
static bool g_logs;
static bool g_local;

/* In this order, so that who gives way in between finds the time and clears it. */
static void wait_for_a_wait(uint64_t ms) {
  atomic_store(&mg_preload_due_ns, mg_now_ns() + MS(ms));
  atomic_store(&g_phase, WAITS);
}

/* Async-signal-safe; what follows is most often exec. Only the forking thread exists here. */
static void after_fork_in_child(void) {
  if (atomic_load(&g_phase) == STANDS_ASIDE) return;
  t_attaches = false;
  g_pid = getpid();
  g_forked = true;
  wait_for_a_wait(SETTLE_MS);
}

/* musl's loader brings us into musl's programs too. What musl lacks is weak here and in the bundle
 * (CMakeLists.txt), so that they run; nothing else of ours does. */
#pragma weak gnu_get_libc_version
#pragma weak secure_getenv
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void* object)
    __attribute__((weak));
extern void* __dso_handle __attribute__((visibility("hidden")));

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  return __register_atfork == NULL ? ENOSYS : __register_atfork(prepare, parent, child, __dso_handle);
}

__attribute__((constructor)) static void arm(void) {
  if (gnu_get_libc_version == NULL) return;
  if (!mg_environment_counts() || mg_environment_says("MEMGOV_DISABLE")) return;
  const char* socket = mg_environment("MEMGOV_SOCKET");
  if (socket != NULL && strlen(socket) >= sizeof(g_socket)) return;
  if (socket != NULL) strncpy(g_socket, socket, sizeof(g_socket) - 1);
  strncpy(g_name, program_invocation_short_name, sizeof(g_name) - 1);
  g_logs = mg_environment_says("MEMGOV_LOG");
  g_local = mg_environment_says("MEMGOV_LOCAL");
  mg_preload_find_early();
  if (pthread_atfork(NULL, NULL, after_fork_in_child) != 0) return;
  g_pid = getpid();
  wait_for_a_wait(SETTLE_MS);
}

/* A signal handler runs with its own signal blocked at least. */
static bool blocks_signals(void) {
  sigset_t blocked;
  return pthread_sigmask(SIG_SETMASK, NULL, &blocked) != 0 || !sigisemptyset(&blocked);
}

static void log_to_stderr(void* user, const char* line) {
  (void)user;
  const struct iovec parts[] = {{(void*)line, strlen(line)}, {(void*)"\n", 1}};
  const ssize_t written = writev(STDERR_FILENO, parts, 2);
  (void)written;
}

static int start(void) {
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.socket = g_socket[0] == '\0' ? MEMGOV_DEFAULT_SOCKET : g_socket;
  options.name = g_name;
  options.log = g_logs ? log_to_stderr : NULL;
  options.local = g_local;
  return memgov_start(&options);
}

static bool is_large(uint64_t now_ns, uint64_t again_ms) {
  if (now_ns < atomic_load_explicit(&g_look_ns, memory_order_relaxed)) return false;
  const int statm = mg_statm_open();
  const uint64_t held = statm < 0 ? 0 : mg_process_read(statm).anon_bytes;
  if (statm >= 0) close(statm);
  if (held >= kLarge) return true;
  atomic_store_explicit(&g_look_ns, now_ns + MS(again_ms), memory_order_relaxed);
  return false;
}

/* Whether the library that has the process's malloc called: a thread of the allocator's own waits with the
 * allocator's locks, and starting an agent takes memory. An executable that is not position independent
 * (Debian's python3) can make a jump table of its own malloc's address; its symbol is an undefined one, and
 * another function tells. */
#pragma weak dladdr1
static bool allocator_calls(const void* caller) {
  static const char* const names[] = {"malloc", "calloc", "realloc", "posix_memalign"};
  Dl_info theirs;
  if (dladdr1 == NULL || dladdr(caller, &theirs) == 0) return false;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
    const void* function = dlsym(RTLD_DEFAULT, names[i]);
    const ElfW(Sym)* symbol = NULL;
    Dl_info its;
    if (function == NULL || dladdr1(function, &its, (void**)&symbol, RTLD_DL_SYMENT) == 0) continue;
    if (symbol != NULL && symbol->st_shndx == SHN_UNDEF) continue;
    return theirs.dli_fbase == its.dli_fbase;
  }
  return false;
}

/* Whether the process has come far enough. */
static bool is_ripe(int place, uint64_t now_ns, uint64_t due_ns) {
  if ((place & MG_NO_WAIT) != 0 && g_forked) return false;
  if (now_ns < due_ns) return (place & MG_ENDLESS) != 0 && is_large(now_ns, LOOK_WHILE_NEW_MS);
  return (place & MG_IF_LARGE) == 0 || is_large(now_ns, LOOK_MS);
}

static void attach(void) {
  int expected = WAITS;
  if (!atomic_compare_exchange_strong(&g_phase, &expected, ATTACHES)) return; /* somebody else was quicker */
  atomic_store(&mg_preload_due_ns, 0);
  t_attaches = true;
  const int error = start();
  t_attaches = false;
  if (error == 0) {
    atomic_store(&g_phase, ATTACHED);
  } else {
    wait_for_a_wait(AGAIN_AFTER_FAILURE_MS);
  }
}

void mg_preload_consider(int place, const void* caller) {
  const uint64_t due_ns = atomic_load(&mg_preload_due_ns);
  if (place == MG_NOWHERE || due_ns == 0) return;
  /* A few nanoseconds, and a few milliseconds late. */
  const uint64_t now_ns = mg_clock_ns(CLOCK_MONOTONIC_COARSE);
  const uint64_t look_ns = atomic_load_explicit(&g_look_ns, memory_order_relaxed);
  if (now_ns < ((place & MG_IF_LARGE) == 0 ? due_ns : look_ns)) {
    if ((place & MG_ENDLESS) == 0 || now_ns < look_ns) return;
  }
  const int before = errno;
  int cancel_state =
      0; /* opening files is a point of cancellation: not here, and not under libmemgov's lock */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  if (getpid() != g_pid || !is_ripe(place, now_ns, due_ns)) {
    /* Not yet; or this is a child of vfork(). */
  } else if ((place & MG_IN_HANDLERS) != 0 && blocks_signals()) {
    if (now_ns >= due_ns) atomic_store(&mg_preload_due_ns, now_ns + MS(SETTLE_MS));
  } else if ((place & MG_CALLER) == 0 || !allocator_calls(caller)) {
    attach();
  }
  pthread_setcancelstate(cancel_state, NULL);
  errno = before;
}

static long no_such_function(void) {
  errno = ENOSYS;
  return -1;
}

/* x86-64 has conditions of an older kind under the same names, and which of them dlsym() finds depends on its
 * version. Who is not versioned there, or not at all (other machines, musl), has one. */
#pragma weak dlvsym
void* mg_preload_find(mg_next* next) {
  void* found = NULL;
  if (dlvsym != NULL && strncmp(next->name, "pthread_cond_", 13) == 0) {
    found = dlvsym(RTLD_NEXT, next->name, "GLIBC_2.3.2");
  }
  if (found == NULL) found = dlsym(RTLD_NEXT, next->name);
  if (found == NULL) *(long (**)(void)) & found = no_such_function;
  atomic_store_explicit(&next->function, found, memory_order_relaxed);
  return found;
}

extern mg_next __start_mg_fronts[] __attribute__((visibility("hidden")));
extern mg_next __stop_mg_fronts[] __attribute__((visibility("hidden")));

void mg_preload_find_early(void) {
  for (mg_next* each = __start_mg_fronts; each < __stop_mg_fronts; ++each) {
    if (each->early) mg_preload_find(each);
  }
}

/* For a libmemgov in the program that is about to start: ends the agent in here, and returns how many starts
 * the program's has to count for us, 0 or 1. */
MEMGOV_EXPORT unsigned memgov_preload_give_way(void);
unsigned memgov_preload_give_way(void) {
  if (t_attaches) return 0; /* the one that asks is our own */
  for (;;) {
    int now = atomic_load(&g_phase);
    if (now == STANDS_ASIDE) return 0;
    if (now == ATTACHES) {
      sched_yield(); /* another thread is in memgov_start(), which does not wait for anything */
    } else if (atomic_compare_exchange_strong(&g_phase, &now, GAVE_WAY)) {
      atomic_store(&mg_preload_due_ns, 0);
      if (now == ATTACHED) memgov_stop();
      return 1;
    }
  }
}
