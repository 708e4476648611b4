#include "client/c/session.h"

#include <stdio.h>
#include <string.h>

#include "client/c/hooks.h"

#define MS(n) ((uint64_t)(n)*MG_NS_PER_MS)

static const uint64_t kWelcomeWithinNs = MS(5000);
static const uint64_t kLeaveWithinNs = MS(2000); /* after GOAWAY */
static const uint64_t kStalledAfterNs =
    MS(10000); /* unread by the governor; there is no ping, see grpc_stream.h */
/* A session lasts so long before another takes its place only to say that caches have come, or have gone: a
 * program that registers and unregisters all the time must not keep its governor busy. Caches that are gone
 * can wait, because a Shed is declined until then. */
static const uint64_t kRenewGainedNs = MS(1000);
static const uint64_t kRenewLostNs = MS(3000);
static const uint64_t kCheckEveryNs = MS(500);  /* between reports: has what we retain changed a lot? */
static const uint64_t kNoticeBytes = 16u << 20; /* less than this is not a lot */

static void fail(mg_session* session, const char* why) {
  if (session->stream.error[0] == '\0') {
    snprintf(session->stream.error, sizeof(session->stream.error), "%s", why);
  }
  session->stream.closed = true;
}

/* --- what we say ------------------------------------------------------------------------------------------
 */

static void send_report(mg_session* session, const mg_report* report, uint64_t now_ns) {
  uint8_t message[MG_WIRE_MAX];
  const size_t size = mg_wire_report(report, message);
  mg_grpc_put(&session->stream, message, size); /* when the outbox is full a later report will do */
  session->reported_retained_bytes = report->retained_bytes;
  session->report_due_ns = now_ns + session->report_every_ns;
  session->check_due_ns = now_ns + kCheckEveryNs;
}

static void report_now(mg_session* session, uint64_t now_ns) {
  const mg_report report = mg_levers_report(&session->levers);
  send_report(session, &report, now_ns);
}

static void send_outcome(mg_session* session, const mg_directive* directive, const mg_outcome* outcome) {
  uint8_t message[MG_WIRE_MAX];
  const size_t size = mg_wire_outcome(outcome, message);
  if (!mg_grpc_put(&session->stream, message, size)) fail(session, "the governor does not read our outcomes");
  mg_emit(&session->observer, (memgov_event){.kind = MEMGOV_EVENT_OUTCOME,
                                             .text = outcome->why,
                                             .directive_id = outcome->id,
                                             .action = directive->action,
                                             .level = directive->level,
                                             .bytes = directive->bytes,
                                             .outcome = outcome->status,
                                             .before_bytes = outcome->before_bytes,
                                             .after_bytes = outcome->after_bytes,
                                             .wall_ns = outcome->wall_ns});
}

static void decline(mg_session* session, const mg_directive* directive, const char* why) {
  const uint64_t resident = mg_process_read(session->levers.statm_fd).resident_bytes;
  mg_outcome outcome = {.id = directive->id,
                        .status = MEMGOV_OUTCOME_DECLINED,
                        .before_bytes = resident,
                        .after_bytes = resident};
  snprintf(outcome.why, sizeof(outcome.why), "%s", why);
  send_outcome(session, directive, &outcome);
}

/* --- what we hear -----------------------------------------------------------------------------------------
 */

static void on_welcome(mg_session* session, const mg_welcome* welcome) {
  /* A later Welcome is an update: the policy has changed. */
  const uint64_t every_ms = welcome->report_every_ms == 0 ? 1000 : welcome->report_every_ms;
  session->report_every_ns = MS(every_ms < 100 ? 100 : every_ms > 60000 ? 60000 : every_ms);
  session->welcomed = true;
  session->enforcing = welcome->enforcing;
  session->report_due_ns = session->read_at_ns;
  mg_emit(&session->observer, (memgov_event){.kind = MEMGOV_EVENT_WELCOMED,
                                             .at_ns = session->read_at_ns,
                                             .text = welcome->cgroup,
                                             .enforcing = welcome->enforcing});
}

static void drop_flood(mg_session* session, const char* what) {
  char why[128];
  snprintf(why, sizeof(why), "the governor floods us with %s: not listening to it for a while", what);
  fail(session, why);
  session->flooded = true;
}

/* What a governor asks for once at a time: it waits for the outcome. Settings may come beside it. */
static bool takes_time(const mg_directive* directive) {
  return directive->action == MEMGOV_ACTION_RELEASE || directive->action == MEMGOV_ACTION_COLLECT ||
         directive->action == MEMGOV_ACTION_SHED;
}

static bool one_waits(const mg_session* session) {
  for (unsigned i = 0; i < session->queued; ++i) {
    if (takes_time(&session->queue[i].directive)) return true;
  }
  return false;
}

static void on_directive(mg_session* session, const mg_directive* directive) {
  mg_emit(&session->observer, (memgov_event){.kind = MEMGOV_EVENT_DIRECTIVE,
                                             .at_ns = session->read_at_ns,
                                             .text = directive->reason,
                                             .directive_id = directive->id,
                                             .action = directive->action,
                                             .level = directive->level,
                                             .bytes = directive->bytes});
  if (!session->enforcing) {
    decline(session, directive, "the Welcome said observe mode, in which no directive may come");
  } else if (session->queued == MG_QUEUE_MAX) {
    decline(session, directive, "too many directives are waiting already");
  } else if (takes_time(directive) && one_waits(session)) {
    decline(session, directive, "an earlier request has not been answered yet, and there is one at a time");
  } else {
    session->queue[session->queued].directive = *directive;
    session->queue[session->queued].received_ns = session->read_at_ns;
    ++session->queued;
  }
}

static void on_message(void* user, const uint8_t* bytes, size_t size) {
  mg_session* session = user;
  if (session->stream.closed) return;
  if (!mg_bounds_message(&session->bounds, session->read_at_ns)) {
    drop_flood(session, "messages");
    return;
  }
  mg_governor_message message;
  const char* error = mg_wire_parse(bytes, size, &message);
  if (error != NULL) {
    char why[128];
    snprintf(why, sizeof(why), "the governor sent a malformed message: %s", error);
    fail(session, why);
  } else if (message.kind == MG_MESSAGE_WELCOME) {
    on_welcome(session, &message.welcome);
  } else if (message.kind == MG_MESSAGE_DIRECTIVE && !session->welcomed) {
    fail(session, "the governor sent a directive before its Welcome");
  } else if (message.kind == MG_MESSAGE_DIRECTIVE) {
    on_directive(session, &message.directive);
  }
}

/* --- the agent's side -------------------------------------------------------------------------------------
 */

bool mg_session_setup(mg_session* session, const mg_observer* observer, const char* name,
                      mg_allocators allocators, int statm_fd) {
  session->observer = *observer;
  snprintf(session->name, sizeof(session->name), "%s", name);
  mg_levers_init(&session->levers, allocators, statm_fd);
  session->queued = 0;
  session->bounds = (mg_bounds){.work_ns = 0};
  return session->stream.callbacks != NULL || mg_grpc_setup(&session->stream, on_message, session);
}

bool mg_session_begin(mg_session* session, uint64_t now_ns) {
  session->flooded = session->welcomed = session->enforcing = false;
  session->leaving_at_ns = 0;
  session->began_at_ns = session->progress_ns = now_ns;
  session->queued = 0;
  session->reported_retained_bytes = 0;
  if (!mg_grpc_open(&session->stream)) return false;
  mg_hello hello = {.client = "memgov-c " MEMGOV_VERSION};
  snprintf(hello.name, sizeof(hello.name), "%s", session->name);
  mg_levers_describe(&session->levers, &hello);
  hello.shed = session->told_shed = mg_hooks_any();
  session->told_changes = session->levers.changes;
  uint8_t message[MG_WIRE_MAX];
  const size_t size = mg_wire_hello(&hello, message);
  return mg_grpc_put(&session->stream, message, size);
}

bool mg_session_receive(mg_session* session, const uint8_t* bytes, size_t size, uint64_t now_ns) {
  session->read_at_ns = now_ns;
  if (!mg_bounds_bytes(&session->bounds, size, now_ns)) {
    drop_flood(session, "bytes");
    return false;
  }
  if (!mg_grpc_receive(&session->stream, bytes, size)) return false;
  if (session->stream.going_away && session->leaving_at_ns == 0) session->leaving_at_ns = now_ns;
  return true;
}

bool mg_session_carry_out_one(mg_session* session) {
  if (session->queued == 0) return false;
  const mg_directive directive = session->queue[0].directive;
  const uint64_t received_ns = session->queue[0].received_ns;
  --session->queued;
  memmove(&session->queue[0], &session->queue[1], session->queued * sizeof(session->queue[0]));
  const uint64_t begin_ns = mg_now_ns();
  if (!mg_bounds_may_work(&session->bounds, begin_ns)) {
    decline(session, &directive, "too soon: directives have taken more than a quarter of the time");
    return true;
  }
  const mg_outcome outcome = mg_levers_carry_out(&session->levers, &directive, received_ns);
  mg_bounds_worked(&session->bounds, outcome.wall_ns, begin_ns);
  send_outcome(session, &directive, &outcome);
  session->report_due_ns = mg_now_ns(); /* once the outcome is on its way */
  return true;
}

bool mg_session_tick(mg_session* session, uint64_t now_ns) {
  mg_grpc_stream* stream = &session->stream;
  if (!session->welcomed && now_ns >= session->began_at_ns + kWelcomeWithinNs) {
    fail(session, "the governor did not welcome us within 5 s");
  } else if (session->leaving_at_ns != 0 && now_ns >= session->leaving_at_ns + kLeaveWithinNs) {
    fail(session, "the governor is going away");
  } else if (!mg_grpc_backlog(stream)) {
    session->progress_ns = now_ns;
  } else if (now_ns >= session->progress_ns + kStalledAfterNs) {
    fail(session, "the governor has read nothing for 10 s");
  }
  if (stream->closed) return false;
  if (!session->welcomed) return true;
  if (now_ns >= session->report_due_ns) {
    report_now(session, now_ns);
  } else if (now_ns >= session->check_due_ns) {
    const mg_report report = mg_levers_report(&session->levers);
    const uint64_t last = session->reported_retained_bytes;
    const uint64_t change =
        report.retained_bytes > last ? report.retained_bytes - last : last - report.retained_bytes;
    session->check_due_ns = now_ns + kCheckEveryNs;
    if (change >= kNoticeBytes && change >= last / 8) send_report(session, &report, now_ns);
  }
  return true;
}

bool mg_session_outdated(const mg_session* session, uint64_t now_ns) {
  const bool caches = mg_hooks_any();
  const bool found = session->told_changes != session->levers.changes;
  if (!session->welcomed || (session->told_shed == caches && !found)) return false;
  if (session->queued > 0 || session->leaving_at_ns != 0 || mg_grpc_backlog(&session->stream)) return false;
  return now_ns >= session->began_at_ns + (caches || found ? kRenewGainedNs : kRenewLostNs);
}

uint64_t mg_session_next_ns(const mg_session* session) {
  uint64_t next = UINT64_MAX;
  if (!session->welcomed) {
    next = session->began_at_ns + kWelcomeWithinNs;
  } else {
    next = session->report_due_ns < session->check_due_ns ? session->report_due_ns : session->check_due_ns;
  }
  if (session->leaving_at_ns != 0) {
    const uint64_t leave = session->leaving_at_ns + kLeaveWithinNs;
    if (leave < next) next = leave;
  }
  if (mg_grpc_backlog(&session->stream)) {
    const uint64_t stalled = session->progress_ns + kStalledAfterNs;
    if (stalled < next) next = stalled;
  }
  return next;
}
