/* The functions in which programs wait for work, each in front of the C library's. Those that are not
 * async-signal-safe are never called in a signal handler, so that attaching there is always allowed; nor does
 * a handler wait with another mask of signals.
 *
 * Those in the first part attach whoever waits in them, as daemons do and most others. Those in the second
 * part are also what small helpers and shells do all day: there only a large process is attached.
 *
 * stdio's waits are in stdio.c: what it calls inside the C library does not pass here. */

#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "client/c/preload/preload.h"

/* From here on a wait counts as one without end. */
enum { LONG_MS = 1000 };

static int by_ms(int ms) { return ms < 0 || ms >= LONG_MS ? MG_ENDLESS : MG_ANYWHERE; }
static int by_time(const struct timespec* time) {
  return time == NULL || time->tv_sec >= LONG_MS / 1000 ? MG_ENDLESS : MG_ANYWHERE;
}

/* clang-format off */
FRONT(by_ms(ms), epoll_wait, int, (int epoll, struct epoll_event* events, int most, int ms),
      (epoll, events, most, ms))
FRONT(by_ms(ms), epoll_pwait, int, (int epoll, struct epoll_event* events, int most, int ms, const sigset_t* mask),
      (epoll, events, most, ms, mask))
FRONT(by_time(time), epoll_pwait2, int,
      (int epoll, struct epoll_event* events, int most, const struct timespec* time, const sigset_t* mask),
      (epoll, events, most, time, mask))
FRONT(by_time(time), ppoll, int,
      (struct pollfd* polled, nfds_t count, const struct timespec* time, const sigset_t* mask),
      (polled, count, time, mask))
FRONT(by_time(time), __ppoll_chk, int,
      (struct pollfd* polled, nfds_t count, const struct timespec* time, const sigset_t* mask, size_t room),
      (polled, count, time, mask, room))
FRONT(by_time(time), nanosleep, int, (const struct timespec* time, struct timespec* left), (time, left))
FRONT(MG_ANYWHERE, usleep, int, (useconds_t us), (us))
FRONT(MG_ANYWHERE, clock_nanosleep, int,
      (clockid_t clock, int flags, const struct timespec* time, struct timespec* left), (clock, flags, time, left))
FRONT(MG_ENDLESS, accept4, int, (int listener, struct sockaddr* address, socklen_t* size, int flags),
      (listener, address, size, flags))
FRONT_IN_HANDLERS(by_ms((int)seconds * 1000), sleep, unsigned, (unsigned seconds), (seconds))
FRONT_IN_HANDLERS(MG_ENDLESS, accept, int, (int listener, struct sockaddr* address, socklen_t* size),
                  (listener, address, size))
FRONT_IN_HANDLERS(by_ms(ms), poll, int, (struct pollfd* polled, nfds_t count, int ms), (polled, count, ms))
FRONT_IN_HANDLERS(by_ms(ms), __poll_chk, int, (struct pollfd* polled, nfds_t count, int ms, size_t room),
                  (polled, count, ms, room))
FRONT_IN_HANDLERS(time == NULL ? MG_ENDLESS : MG_ANYWHERE, select, int,
                  (int count, fd_set* to_read, fd_set* to_write, fd_set* except, struct timeval* time),
                  (count, to_read, to_write, except, time))
MG_FRONT(true, by_time(time) | (mask == NULL ? MG_IN_HANDLERS : 0), pselect, int,
         (int count, fd_set* to_read, fd_set* to_write, fd_set* except, const struct timespec* time,
          const sigset_t* mask),
         (count, to_read, to_write, except, time, mask))
FRONT_IN_HANDLERS(MG_ANYWHERE, read, ssize_t, (int file, void* buffer, size_t size), (file, buffer, size))
FRONT_IN_HANDLERS(MG_ANYWHERE, __read_chk, ssize_t, (int file, void* buffer, size_t size, size_t room),
                  (file, buffer, size, room))

/* --- only where it is worth it ---------------------------------------------------------------------------- */

FRONT_IN_HANDLERS(MG_IF_LARGE, readv, ssize_t, (int file, const struct iovec* parts, int count),
                  (file, parts, count))
FRONT_IN_HANDLERS(MG_IF_LARGE, recv, ssize_t, (int from, void* buffer, size_t size, int flags),
                  (from, buffer, size, flags))
FRONT_IN_HANDLERS(MG_IF_LARGE, __recv_chk, ssize_t, (int from, void* buffer, size_t size, size_t room, int flags),
                  (from, buffer, size, room, flags))
FRONT_IN_HANDLERS(MG_IF_LARGE, recvfrom, ssize_t,
                  (int from, void* buffer, size_t size, int flags, struct sockaddr* address, socklen_t* length),
                  (from, buffer, size, flags, address, length))
FRONT_IN_HANDLERS(MG_IF_LARGE, __recvfrom_chk, ssize_t,
                  (int from, void* buffer, size_t size, size_t room, int flags, struct sockaddr* address,
                   socklen_t* length),
                  (from, buffer, size, room, flags, address, length))
FRONT_IN_HANDLERS(MG_IF_LARGE, recvmsg, ssize_t, (int from, struct msghdr* message, int flags),
                  (from, message, flags))
FRONT(MG_IF_LARGE, recvmmsg, int,
      (int from, struct mmsghdr* messages, unsigned count, int flags, struct timespec* time),
      (from, messages, count, flags, time))
FRONT(MG_IF_LARGE, msgrcv, ssize_t, (int queue, void* message, size_t size, long type, int flags),
      (queue, message, size, type, flags))
FRONT(MG_IF_LARGE, mq_receive, ssize_t, (mqd_t queue, char* message, size_t size, unsigned* priority),
      (queue, message, size, priority))
FRONT(MG_IF_LARGE, mq_timedreceive, ssize_t,
      (mqd_t queue, char* message, size_t size, unsigned* priority, const struct timespec* until),
      (queue, message, size, priority, until))

/* A handler of SIGCHLD calls these, with the signal blocked; with WNOHANG they are no wait. */
#define CHILD(options) (((options) & WNOHANG) != 0 ? MG_IF_LARGE : MG_IF_LARGE | MG_ENDLESS)
FRONT_IN_HANDLERS(MG_IF_LARGE | MG_ENDLESS, wait, pid_t, (int* status), (status))
FRONT_IN_HANDLERS(CHILD(options), waitpid, pid_t, (pid_t child, int* status, int options), (child, status, options))
FRONT_IN_HANDLERS(CHILD(options), wait3, pid_t, (int* status, int options, struct rusage* usage),
                  (status, options, usage))
FRONT_IN_HANDLERS(CHILD(options), wait4, pid_t, (pid_t child, int* status, int options, struct rusage* usage),
                  (child, status, options, usage))
FRONT_IN_HANDLERS(CHILD(options), waitid, int, (idtype_t kind, id_t id, siginfo_t* info, int options),
                  (kind, id, info, options))
FRONT(MG_IF_LARGE | MG_ENDLESS, system, int, (const char* command), (command))
FRONT(MG_IF_LARGE | MG_ENDLESS, pclose, int, (FILE* file), (file))

/* sigsuspend() is meant to be called with signals blocked; a handler does not. */
FRONT_IN_HANDLERS(MG_IF_LARGE | MG_ENDLESS, pause, int, (void), ())
MG_FRONT(true, MG_IF_LARGE | MG_ENDLESS, sigsuspend, int, (const sigset_t* mask), (mask))
FRONT(MG_IF_LARGE | MG_ENDLESS, sigwait, int, (const sigset_t* set, int* signal), (set, signal))
FRONT(MG_IF_LARGE | MG_ENDLESS, sigwaitinfo, int, (const sigset_t* set, siginfo_t* info), (set, info))
FRONT(MG_IF_LARGE, sigtimedwait, int, (const sigset_t* set, siginfo_t* info, const struct timespec* time),
      (set, info, time))

#define FUTEX (MG_IF_LARGE | MG_CALLER)
FRONT(FUTEX | MG_ENDLESS, pthread_cond_wait, int, (pthread_cond_t* condition, pthread_mutex_t* mutex),
      (condition, mutex))
FRONT(FUTEX, pthread_cond_timedwait, int,
      (pthread_cond_t* condition, pthread_mutex_t* mutex, const struct timespec* until), (condition, mutex, until))
FRONT(FUTEX, pthread_cond_clockwait, int,
      (pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const struct timespec* until),
      (condition, mutex, clock, until))
FRONT(FUTEX | MG_ENDLESS, cnd_wait, int, (cnd_t* condition, mtx_t* mutex), (condition, mutex))
FRONT(FUTEX, cnd_timedwait, int, (cnd_t* condition, mtx_t* mutex, const struct timespec* until),
      (condition, mutex, until))
FRONT(FUTEX | MG_ENDLESS, sem_wait, int, (sem_t* semaphore), (semaphore))
FRONT(FUTEX, sem_timedwait, int, (sem_t* semaphore, const struct timespec* until), (semaphore, until))
FRONT(FUTEX, sem_clockwait, int, (sem_t* semaphore, clockid_t clock, const struct timespec* until),
      (semaphore, clock, until))
FRONT(FUTEX | MG_ENDLESS, pthread_join, int, (pthread_t thread, void** result), (thread, result))
FRONT(FUTEX | MG_ENDLESS, thrd_join, int, (thrd_t thread, int* result), (thread, result))
FRONT(FUTEX | MG_ENDLESS, pthread_barrier_wait, int, (pthread_barrier_t* barrier), (barrier))

/* Futexes without libc's types: Rust's parking, std::atomic::wait. The C library's is variadic; with as many
 * parameters as it has registers and one more, ours leaves it all where it is. */
static bool is_futex_wait(long number, long operation) {
  const long command = operation & FUTEX_CMD_MASK;
  return number == SYS_futex && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET);
}
long mg_preload_syscall(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");
static mg_next g_syscall __attribute__((section("mg_fronts"), used)) = {NULL, "syscall", true};
MEMGOV_EXPORT long mg_preload_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (is_futex_wait(number, b)) mg_preload_at(FUTEX | MG_IN_HANDLERS, __builtin_return_address(0));
  long (*next)(long, long, long, long, long, long, long) = NULL;
  *(void**)&next = mg_preload_next(&g_syscall);
  return next(number, a, b, c, d, e, f);
}
/* clang-format on */
