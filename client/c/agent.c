#include "client/c/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/c/hooks.h"
#include "client/c/reserve.h"
#include "client/c/trust.h"

#define MS(n) ((uint64_t)(n)*MG_NS_PER_MS)

static const uint64_t kBackoffFirstNs = MS(100);
static const uint64_t kBackoffMaxNs = MS(1000);
static const uint64_t kBackoffRefusedNs = MS(30000); /* a governor that said no will mostly say so again */
static const uint64_t kReserveAfterNs =
    MS(10000); /* of a session: by then a governor has helped, if it can */
static const uint64_t kSendAgainNs = MS(50);
static const uint64_t kLookAgainNs = MS(500);
static const uint64_t kLookOnNs = MS(10);

/* Somebody else may keep the governor's listen queue full. A connect that blocks is let in by the kernel as
 * soon as there is room, mostly within a millisecond; one that does not would have to come at the right
 * moment. So long it waits. */
static const struct timeval kRoomWithin = {.tv_usec = 50000};

/* --- connecting -------------------------------------------------------------------------------------------
 */

static void close_descriptor(mg_agent* agent, int* descriptor) {
  pthread_mutex_lock(&agent->descriptors);
  if (*descriptor >= 0) close(*descriptor);
  *descriptor = -1;
  pthread_mutex_unlock(&agent->descriptors);
}

/* xorshift64*: spreads the clients of a node, no more. */
static uint64_t next_random(mg_agent* agent) {
  agent->random ^= agent->random >> 12;
  agent->random ^= agent->random << 25;
  agent->random ^= agent->random >> 27;
  return agent->random * 0x2545f4914f6cdd1dull;
}

/* Waits between three quarters and the whole of the backoff, then doubles it. */
static void retry_later(mg_agent* agent, uint64_t now_ns, bool refused) {
  const uint64_t quarter = agent->backoff_ns / 4;
  agent->retry_at_ns = now_ns + 3 * quarter + next_random(agent) % quarter;
  const uint64_t most = refused ? kBackoffRefusedNs : kBackoffMaxNs;
  agent->backoff_ns = 2 * agent->backoff_ns < most ? 2 * agent->backoff_ns : most;
}

static void say_disconnected(mg_agent* agent, const char* reason) {
  if (strcmp(reason, agent->last_reason) == 0) return;
  snprintf(agent->last_reason, sizeof(agent->last_reason), "%s", reason);
  mg_emit(&agent->session.observer, (memgov_event){.kind = MEMGOV_EVENT_DISCONNECTED, .text = reason});
}

static void disconnect(mg_agent* agent, const char* reason) {
  mg_grpc_stream* stream = &agent->session.stream;
  close_descriptor(agent, &agent->socket_fd);
  mg_grpc_close(stream);
  atomic_store(&agent->state, MEMGOV_NOT_CONNECTED);
  if (agent->session.welcomed) agent->backoff_ns = kBackoffFirstNs;
  if (agent->session.flooded) agent->backoff_ns = kBackoffRefusedNs;
  retry_later(agent, mg_now_ns(), stream->refused || agent->session.flooded);
  say_disconnected(agent, reason);
}

/* Whether to obey whoever listens there. Else hangs up, without having said a word. */
static bool trusts(mg_agent* agent) {
  char why[192];
  char reason[320];
  pthread_mutex_lock(&agent->descriptors);
  const bool trusted = mg_trust(agent->socket_fd, agent->socket, why, sizeof(why));
  pthread_mutex_unlock(&agent->descriptors);
  if (trusted) return true;
  close_descriptor(agent, &agent->socket_fd);
  atomic_store(&agent->state, MEMGOV_NOT_CONNECTED);
  retry_later(agent, mg_now_ns(), true);
  snprintf(reason, sizeof(reason), "not obeying %s: %s", agent->socket, why);
  say_disconnected(agent, reason);
  return false;
}

/* False: errno. EAGAIN: the queue was full all the time. */
static bool connect_within(int descriptor, const struct sockaddr_un* address) {
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &kRoomWithin, sizeof(kRoomWithin));
  return connect(descriptor, (const struct sockaddr*)address, sizeof(*address)) == 0 &&
         fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0;
}

static void make_reserve(mg_agent* agent, uint64_t now_ns) {
  pthread_mutex_lock(&agent->descriptors);
  if (agent->reserve_fd < 0) agent->reserve_fd = mg_reserve_make();
  if (agent->probe_fd < 0) agent->probe_fd = mg_probe_make();
  pthread_mutex_unlock(&agent->descriptors);
  agent->reserve_at_ns = now_ns + kReserveAfterNs;
}

/* Whether it is worth trying again what failed with `error`: there is memory now that was not there. */
static bool spend_reserve(mg_agent* agent, int error) {
  if (!mg_reserve_is_for(error) || agent->reserve_fd < 0) return false;
  close_descriptor(agent, &agent->reserve_fd);
  agent->reserve_at_ns = mg_now_ns() + kReserveAfterNs;
  return true;
}

/* 0 or an errno value. */
static int try_to_connect(mg_agent* agent) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, agent->socket, sizeof(address.sun_path));
  const int nobody = mg_probe(agent->probe_fd, &address);
  if (nobody != 0) return nobody;
  pthread_mutex_lock(&agent->descriptors);
  agent->socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  pthread_mutex_unlock(&agent->descriptors);
  if (agent->socket_fd >= 0 && connect_within(agent->socket_fd, &address)) return 0;
  const int error = errno;
  close_descriptor(agent, &agent->socket_fd);
  return error;
}

/* What an errno value of that means. */
static const char* meaning_of(mg_agent* agent, int error) {
  switch (error) {
    case EAGAIN:
      return "the queue is full: no answer yet of the governor";
    case EACCES:
    case EPERM:
      return "not allowed to connect to the governor";
    case EMFILE:
      return "this process has no descriptor left to reach the governor";
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      break;
    default:
      return "no governor";
  }
  pthread_mutex_lock(&agent->descriptors);
  const bool files = error == ENFILE && mg_reserve_files_are_out();
  pthread_mutex_unlock(&agent->descriptors);
  return files ? "this host has no file left to reach the governor"
               : "no memory for a socket, the cgroup seems to be full: not in touch with the governor";
}

static void connect_to_governor(mg_agent* agent) {
  int error = try_to_connect(agent);
  if (spend_reserve(agent, error)) error = try_to_connect(agent);
  if (error != 0) {
    atomic_store(&agent->state, MEMGOV_NOT_CONNECTED);
    retry_later(agent, mg_now_ns(), false);
    char reason[256];
    snprintf(reason, sizeof(reason), "%s at %s (errno %d)", meaning_of(agent, error), agent->socket, error);
    say_disconnected(agent, reason);
    return;
  }
  agent->send_again_ns = 0;
  if (!trusts(agent)) return;
  mg_emit(&agent->session.observer, (memgov_event){.kind = MEMGOV_EVENT_CONNECTED, .text = agent->socket});
  if (!mg_session_begin(&agent->session, mg_now_ns())) disconnect(agent, agent->session.stream.error);
}

/* Whether the governor has sent something that we have not read yet. */
static bool has_unread(const mg_agent* agent) {
  char byte;
  return recv(agent->socket_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* A new session in the old one's place, without a word to the application: nothing has happened to it. */
static void renew(mg_agent* agent) {
  close_descriptor(agent, &agent->socket_fd);
  mg_grpc_close(&agent->session.stream);
  agent->backoff_ns = kBackoffFirstNs;
  connect_to_governor(agent);
}

/* --- an open connection -----------------------------------------------------------------------------------
 */

/* Sends what can be sent. False: disconnected. */
static bool flush(mg_agent* agent) {
  mg_session* session = &agent->session;
  const uint8_t* bytes = NULL;
  ptrdiff_t size = 0;
  while ((size = mg_grpc_to_send(&session->stream, &bytes)) > 0) {
    const ssize_t sent = send(agent->socket_fd, bytes, (size_t)size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return true;
    if (sent < 0 && spend_reserve(agent, errno)) continue;
    if (sent < 0 && mg_reserve_is_for(errno)) {
      agent->send_again_ns = mg_now_ns() + kSendAgainNs;
      return true;
    }
    if (sent < 0) {
      disconnect(agent, "the governor closed the connection");
      return false;
    }
    agent->send_again_ns = 0;
    mg_grpc_sent(&session->stream, (size_t)sent);
    session->progress_ns = mg_now_ns();
  }
  if (size < 0) disconnect(agent, session->stream.error);
  return size == 0;
}

static void note_state(mg_agent* agent) {
  const mg_session* session = &agent->session;
  if (!session->welcomed) return;
  atomic_store(&agent->state, session->enforcing ? MEMGOV_ENFORCING : MEMGOV_OBSERVING);
  agent->last_reason[0] = '\0';
}

/* Reads once and obeys. What is still in the socket makes poll() return at once. */
static void receive(mg_agent* agent) {
  mg_session* session = &agent->session;
  const ssize_t got = recv(agent->socket_fd, agent->buffer, sizeof(agent->buffer), 0);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) {
    disconnect(agent, "the governor closed the connection");
    return;
  }
  const bool goes_on = mg_session_receive(session, agent->buffer, (size_t)got, mg_now_ns());
  if (goes_on) note_state(agent);
  while (goes_on && mg_session_carry_out_one(session)) {
    if (!flush(agent)) return;
    if (atomic_load(&agent->stopping)) return;
  }
  if (session->stream.closed) disconnect(agent, session->stream.error);
}

/* --- the loop ---------------------------------------------------------------------------------------------
 */

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Does what is due; returns when to come back. */
static uint64_t tick(mg_agent* agent) {
  mg_session* session = &agent->session;
  const uint64_t now_ns = mg_now_ns();
  bool governed = atomic_load(&agent->state) >= MEMGOV_OBSERVING;
  if (session->levers.revert_at_ns != 0 && now_ns >= session->levers.revert_at_ns) {
    mg_levers_revert(&session->levers);
    session->report_due_ns = now_ns;
    mg_emit(&session->observer, (memgov_event){.kind = MEMGOV_EVENT_REVERTED,
                                               .text = "time to live ended: the release mode is as before",
                                               .action = MEMGOV_ACTION_SET_RELEASE_MODE});
  }
  if (now_ns >= agent->look_at_ns && (governed || agent->fallback.watching)) {
    /* One object at a time: a directive must not wait for all. */
    agent->looks_on = mg_levers_look(&session->levers, &agent->descriptors);
    agent->look_at_ns = now_ns + (agent->looks_on ? kLookOnNs : kLookAgainNs);
  }
  if (agent->socket_fd >= 0 && mg_session_outdated(session, now_ns) && !has_unread(agent)) renew(agent);
  if (agent->socket_fd < 0 && now_ns >= agent->retry_at_ns) connect_to_governor(agent);
  if (agent->socket_fd >= 0) {
    if (mg_session_tick(session, now_ns)) {
      flush(agent);
    } else {
      disconnect(agent, session->stream.error);
    }
  }
  governed = atomic_load(&agent->state) >= MEMGOV_OBSERVING;
  if (governed && agent->reserve_fd < 0 && now_ns >= agent->reserve_at_ns) make_reserve(agent, now_ns);
  uint64_t next = mg_fallback_tick(&agent->fallback, governed, &session->levers, &session->observer, now_ns);
  next = earlier(next, agent->socket_fd >= 0 ? mg_session_next_ns(session) : agent->retry_at_ns);
  if (agent->socket_fd >= 0 && agent->send_again_ns != 0) next = earlier(next, agent->send_again_ns);
  if (session->levers.revert_at_ns != 0) next = earlier(next, session->levers.revert_at_ns);
  if (agent->looks_on) next = earlier(next, agent->look_at_ns);
  return next;
}

static int timeout_ms(uint64_t at_ns) {
  const uint64_t now_ns = mg_now_ns();
  if (at_ns <= now_ns) return 0;
  const uint64_t ms = (at_ns - now_ns + MG_NS_PER_MS - 1) / MG_NS_PER_MS;
  return ms < 60000 ? (int)ms : 60000;
}

static void* run(void* argument) {
  mg_agent* agent = argument;
  pthread_setname_np(pthread_self(), "memgov");
  mg_ask_for_short_slices();
  mg_prefault();
  mg_prefault_bytes(agent, offsetof(mg_agent, session.stream.arena) + MG_AGENT_ARENA_BYTES);
  while (!atomic_load(&agent->stopping)) {
    const uint64_t next = tick(agent);
    struct pollfd polled[2 + MG_WATCH_POLLED_MAX] = {{.fd = agent->wake_fd, .events = POLLIN},
                                                     {.fd = agent->socket_fd, .events = POLLIN}};
    if (agent->session.stream.unsent_size > 0 && agent->send_again_ns == 0) polled[1].events |= POLLOUT;
    const size_t alarms = mg_fallback_polled(&agent->fallback, polled + 2);
    if (poll(polled, 2 + alarms, timeout_ms(next)) <= 0) continue;
    mg_fallback_heard(&agent->fallback, polled + 2, alarms);
    if (agent->socket_fd >= 0 && (polled[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive(agent);
  }
  mg_fallback_close(&agent->fallback);
  mg_levers_revert(&agent->session.levers);
  if (agent->socket_fd >= 0) {
    close_descriptor(agent, &agent->socket_fd);
    mg_grpc_close(&agent->session.stream);
    mg_emit(&agent->session.observer,
            (memgov_event){.kind = MEMGOV_EVENT_DISCONNECTED, .text = "the application stopped memgov"});
  }
  return NULL;
}

/* --- starting and stopping --------------------------------------------------------------------------------
 */

/* With asynchronous signals blocked: they are the application's. Faults stay open, since blocking them would
 * keep the application's crash handler from running. */
static int create_thread(mg_agent* agent) {
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
  for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); ++i) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    size_t stack = (size_t)1 << 20;
#else
    size_t stack = (size_t)128 << 10;
#endif
    /* The application's thread-local data stand on the stack too: EINVAL when it has more than fits. */
    do {
      error = pthread_attr_setstacksize(&attributes, stack);
      if (error == 0) error = pthread_create(&agent->thread, &attributes, run, agent);
      stack *= 4;
    } while (error == EINVAL && stack <= (size_t)32 << 20);
    pthread_attr_destroy(&attributes);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

static void close_all(mg_agent* agent) {
  close_descriptor(agent, &agent->socket_fd);
  close_descriptor(agent, &agent->reserve_fd);
  close_descriptor(agent, &agent->probe_fd);
  close_descriptor(agent, &agent->statm_fd);
  close_descriptor(agent, &agent->wake_fd);
  atomic_store(&agent->state, MEMGOV_OFF);
}

void mg_agent_init(mg_agent* agent) {
  pthread_mutex_init(&agent->descriptors, NULL);
  agent->wake_fd = agent->statm_fd = agent->socket_fd = agent->reserve_fd = agent->probe_fd = -1;
  mg_watch_init(&agent->fallback.watch);
}

int mg_agent_start(mg_agent* agent, const mg_observer* observer, const char* name) {
  pthread_mutex_lock(&agent->descriptors);
  agent->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int wake_error = agent->wake_fd < 0 ? errno : 0;
  agent->statm_fd = mg_statm_open();
  agent->socket_fd = -1;
  agent->reserve_fd = mg_reserve_make();
  agent->probe_fd = mg_probe_make();
  pthread_mutex_unlock(&agent->descriptors);
  int error = wake_error;
  if (error == 0 &&
      !mg_session_setup(&agent->session, observer, name, mg_detect_allocators(), agent->statm_fd)) {
    error = ENOMEM;
  }
  if (error == 0) {
    agent->backoff_ns = kBackoffFirstNs;
    agent->retry_at_ns = agent->send_again_ns = agent->reserve_at_ns = agent->look_at_ns = 0;
    agent->random = (mg_now_ns() ^ (uint64_t)getpid() << 32) | 1;
    agent->last_reason[0] = '\0';
    agent->looks_on = false;
    atomic_store(&agent->stopping, false);
    mg_hooks_stop(false);
    atomic_store(&agent->state, MEMGOV_NOT_CONNECTED);
    error = create_thread(agent);
  }
  if (error != 0) close_all(agent);
  return error;
}

void mg_agent_request_stop(mg_agent* agent) {
  atomic_store(&agent->stopping, true);
  mg_hooks_stop(true);
  const uint64_t one = 1;
  const ssize_t written = write(agent->wake_fd, &one, sizeof(one));
  (void)written; /* fails only when the counter is full, which wakes the thread as well */
}

void mg_agent_join(mg_agent* agent) {
  pthread_join(agent->thread, NULL);
  close_all(agent);
}

void mg_agent_forget(mg_agent* agent) {
  int* const descriptors[] = {&agent->socket_fd, &agent->statm_fd, &agent->wake_fd, &agent->reserve_fd,
                              &agent->probe_fd};
  for (size_t i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); ++i) {
    if (*descriptors[i] >= 0) close(*descriptors[i]);
    *descriptors[i] = -1;
  }
  mg_watch_close(&agent->fallback.watch);
  atomic_store(&agent->state, MEMGOV_OFF);
}
