/* A program that waits, forks and executes on command, for the tests of libmemgov_preload.so: one command a
 * line on standard input, one line of answer each. It knows nothing of memgov, except when it is built with
 * PUPPET_MEMGOV, for the programs that start the library themselves.
 *
 *   wait          waits for 120 ms, twice, as a server without work does -> "0"
 *   handle        waits inside a signal handler only
 *   threads       how many there are
 *   fork N        forks N children, one after the other, that end at once -> how many failed
 *   exec N        the same with children that execute /bin/true
 *   vfork N       the same with vfork()
 *   daemon        forks a child that waits again and again, and ends after its parent -> "0"
 *   start SOCKET | stop   memgov_start(), memgov_stop() -> "0" or the errno */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PUPPET_MEMGOV
#include "client/c/memgov.h"
#endif

enum { WAIT_MS = 120 };

static void wait_twice(int signal) {
  (void)signal;
  poll(NULL, 0, WAIT_MS);
  poll(NULL, 0, WAIT_MS);
}

static void wait_in_handler(void) {
  struct sigaction action = {.sa_handler = wait_twice};
  sigaction(SIGUSR1, &action, NULL);
  raise(SIGUSR1);
}

static long threads(void) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  long count = -1;
  while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
    if (strncmp(line, "Threads:", 8) == 0) count = strtol(line + 8, NULL, 10);
  }
  if (file != NULL) fclose(file);
  return count;
}

static int fails(pid_t child) {
  int status = -1;
  return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}

static int fork_many(int count, int executes) {
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      if (executes) execl("/bin/true", "true", NULL);
      _exit(executes);
    }
    failed += fails(child);
  }
  return failed;
}

static pid_t vfork_true(void) {
  const pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what we test */
  if (child == 0) {
    /* The memory is the parent's; an agent that began here would end with exec. */
    poll(NULL, 0, 0); /* NOLINT(clang-analyzer-unix.Vfork): as above */
    execl("/bin/true", "true", NULL);
    _exit(1);
  }
  return child;
}

static int vfork_many(int count) {
  int failed = 0;
  for (int i = 0; i < count; ++i) failed += fails(vfork_true());
  return failed;
}

static int begin_daemon(void) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    while (getppid() == parent) poll(NULL, 0, WAIT_MS);
    _exit(0);
  }
  return child < 0;
}

static int start(const char* socket) {
#ifdef PUPPET_MEMGOV
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.socket = socket;
  options.name = "own";
  return memgov_start(&options);
#else
  (void)socket;
  return -1;
#endif
}

static void stop(void) {
#ifdef PUPPET_MEMGOV
  memgov_stop();
#endif
}

int main(void) {
  char line[512];
  setvbuf(stdout, NULL, _IOLBF, 256);
  while (fgets(line, sizeof(line), stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    const char* space = strchr(line, ' ');
    const int count = space == NULL ? 0 : (int)strtol(space, NULL, 10);
    long answer = 0;
    if (strcmp(line, "wait") == 0) {
      wait_twice(0);
    } else if (strcmp(line, "handle") == 0) {
      wait_in_handler();
    } else if (strcmp(line, "threads") == 0) {
      answer = threads();
    } else if (strncmp(line, "fork ", 5) == 0) {
      answer = fork_many(count, 0);
    } else if (strncmp(line, "exec ", 5) == 0) {
      answer = fork_many(count, 1);
    } else if (strncmp(line, "vfork ", 6) == 0) {
      answer = vfork_many(count);
    } else if (strcmp(line, "daemon") == 0) {
      answer = begin_daemon();
    } else if (strncmp(line, "start ", 6) == 0) {
      answer = start(space + 1);
    } else if (strcmp(line, "stop") == 0) {
      stop();
    } else {
      answer = -1;
    }
    printf("%ld\n", answer);
  }
  return 0;
}
