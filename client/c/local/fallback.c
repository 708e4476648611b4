#include "client/c/local/fallback.h"

#include <stdio.h>

#include "client/c/hooks.h"

#define MS(n) ((uint64_t)(n)*MG_NS_PER_MS)

static const uint64_t kAloneFirstNs = MS(1000);  /* a governor that is there has welcomed us by then */
static const uint64_t kAloneAgainNs = MS(10000); /* one that restarts mostly has, too */
static const uint64_t kSearchEveryNs = MS(10000);
static const uint64_t kOpenEveryNs = MS(1000); /* what is lost may be lost again at once */
static const uint32_t kLongestStallMs = 100;   /* the governor's default (docs/policy.md) */
static const uint32_t kShedWithinMs = 2000;

void mg_fallback_setup(mg_fallback* fallback, bool wanted, const mg_stall_source* source,
                       pthread_mutex_t* descriptors) {
  *fallback = (mg_fallback){.wanted = wanted, .source = *source, .descriptors = descriptors};
  mg_watch_init(&fallback->watch);
}

static void say(const mg_observer* observer, const char* text) {
  mg_emit(observer, (memgov_event){.kind = MEMGOV_EVENT_LOCAL_WATCH, .text = text});
}

/* --- beginning and ending ---------------------------------------------------------------------------- */

static bool open_watch(mg_fallback* fallback, uint64_t now_ns) {
  pthread_mutex_lock(fallback->descriptors);
  const bool any = mg_watch_open(&fallback->watch, &fallback->source, "/proc/self", now_ns);
  pthread_mutex_unlock(fallback->descriptors);
  fallback->search_at_ns = now_ns + kSearchEveryNs;
  return any;
}

void mg_fallback_close(mg_fallback* fallback) {
  if (!fallback->wanted) return;
  pthread_mutex_lock(fallback->descriptors);
  mg_watch_close(&fallback->watch);
  pthread_mutex_unlock(fallback->descriptors);
  fallback->watching = false;
}

static void begin(mg_fallback* fallback, const mg_observer* observer, uint64_t now_ns) {
  if (fallback->source.off) {
    fallback->wanted = false;
    say(observer, "nothing is watched: MEMORY_PRESSURE_WATCH=/dev/null");
    return;
  }
  fallback->watching = open_watch(fallback, now_ns);
  fallback->pace = (mg_pace){.pressed_since_ns = 0};
  if (fallback->watching) {
    char what[400];
    char text[432];
    mg_watch_describe(&fallback->watch, &fallback->source, what, sizeof(what));
    snprintf(text, sizeof(text), "without a governor: watching %s", what);
    say(observer, text);
  } else if (!fallback->none_said) {
    const char* const problem = mg_watch_problem(&fallback->watch, &fallback->source);
    char text[256];
    snprintf(text, sizeof(text),
             "without a governor, and nothing to watch: no cgroup with a limit and no memory.pressure%s%s",
             problem[0] != '\0' ? "; " : "", problem);
    say(observer, text);
  }
  fallback->none_said = !fallback->watching;
}

static void stand_aside(mg_fallback* fallback, mg_levers* levers, const mg_observer* observer) {
  mg_fallback_close(fallback);
  const bool restore = fallback->set_eager && levers->revert_at_ns != 0;
  if (restore) mg_levers_revert(levers);
  fallback->set_eager = false;
  say(observer, restore ? "a governor is there: not watching; the release mode is as before"
                        : "a governor is there: not watching");
}

/* Limits come and go, and processes are moved. */
static void search(mg_fallback* fallback, uint64_t now_ns) {
  static mg_own_cgroup now; /* large, and there is one agent */
  pthread_mutex_lock(fallback->descriptors);
  mg_own_cgroup_find(&now, "/proc/self");
  pthread_mutex_unlock(fallback->descriptors);
  fallback->search_at_ns = now_ns + kSearchEveryNs;
  if (!mg_own_cgroup_same(&now, &fallback->watch.own)) fallback->watch.lost = true;
}

/* --- acting ------------------------------------------------------------------------------------------ */

static mg_means means_of(const mg_levers* levers) {
  mg_hello can;
  mg_levers_describe(levers, &can);
  const mg_report report = mg_levers_report(levers);
  return (mg_means){.eager = can.capabilities.set_release_mode,
                    .release = can.capabilities.release,
                    .shed = mg_hooks_any(),
                    .told = report.retained_kind != MG_ESTIMATE_NONE,
                    .retained_bytes = report.retained_bytes};
}

static mg_directive directive_of(mg_step step, const mg_need* need) {
  const uint64_t piece = MG_LOCAL_PIECE_BYTES;
  mg_directive directive = {.action = (memgov_action)step,
                            .level = need->level,
                            .bytes = need->bytes > 0 && need->bytes < piece ? need->bytes : piece,
                            .longest_stall_ms = kLongestStallMs};
  if (step == MG_STEP_EAGER) {
    directive.mode = MG_MODE_EAGER;
    directive.ttl_ms = MG_LOCAL_TTL_MS;
    directive.bytes = 0;
  } else if (step == MG_STEP_SHED) {
    directive.deadline_ms = kShedWithinMs;
  }
  return directive;
}

static void carry_out(mg_fallback* fallback, mg_step step, const mg_need* need, mg_levers* levers,
                      const mg_observer* observer, uint64_t now_ns) {
  const mg_directive directive = directive_of(step, need);
  const bool renews = step == MG_STEP_EAGER && fallback->set_eager && levers->revert_at_ns != 0;
  const mg_outcome outcome = mg_levers_carry_out(levers, &directive, now_ns);
  const uint64_t given =
      outcome.before_bytes > outcome.after_bytes ? outcome.before_bytes - outcome.after_bytes : 0;
  mg_pace_done(&fallback->pace, step, given, mg_now_ns());
  if (step == MG_STEP_EAGER) fallback->set_eager = outcome.status == MEMGOV_OUTCOME_DONE;
  if (renews && outcome.status == MEMGOV_OUTCOME_DONE) return;
  char text[sizeof(need->why) + sizeof(outcome.why) + 2];
  snprintf(text, sizeof(text), "%s%s%s", need->why, outcome.why[0] == '\0' ? "" : ": ", outcome.why);
  mg_emit(observer, (memgov_event){.kind = MEMGOV_EVENT_LOCAL_ACTION,
                                   .text = text,
                                   .action = directive.action,
                                   .level = directive.level,
                                   .bytes = directive.bytes,
                                   .outcome = outcome.status,
                                   .before_bytes = outcome.before_bytes,
                                   .after_bytes = outcome.after_bytes,
                                   .wall_ns = outcome.wall_ns});
}

static uint64_t look(mg_fallback* fallback, mg_levers* levers, const mg_observer* observer, uint64_t now_ns) {
  const mg_need need = mg_watch_read(&fallback->watch, now_ns);
  if (need.level == MEMGOV_LEVEL_CALM) {
    const mg_means none = {.eager = false};
    mg_pace_next(&fallback->pace, need.level, false, &none, now_ns);
    return fallback->watch.next_ns;
  }
  const mg_means means = means_of(levers);
  const mg_step step = mg_pace_next(&fallback->pace, need.level, need.bytes > 0, &means, now_ns);
  if (step == MG_STEP_NONE) return fallback->watch.next_ns;
  carry_out(fallback, step, &need, levers, observer, now_ns);
  fallback->watch.next_ns = mg_now_ns(); /* what is left to do is known only now */
  return fallback->watch.next_ns;
}

uint64_t mg_fallback_tick(mg_fallback* fallback, bool governed, mg_levers* levers,
                          const mg_observer* observer, uint64_t now_ns) {
  if (!fallback->wanted) return UINT64_MAX;
  if (governed) {
    if (fallback->watching) stand_aside(fallback, levers, observer);
    fallback->was_governed = true;
    fallback->begins_at_ns = 0;
    return UINT64_MAX;
  }
  if (fallback->begins_at_ns == 0) {
    fallback->begins_at_ns = now_ns + (fallback->was_governed ? kAloneAgainNs : kAloneFirstNs);
  }
  if (now_ns < fallback->begins_at_ns) return fallback->begins_at_ns;
  if (!fallback->watching) {
    if (now_ns < fallback->search_at_ns) return fallback->search_at_ns;
    begin(fallback, observer, now_ns);
    if (!fallback->watching) return fallback->wanted ? fallback->search_at_ns : UINT64_MAX;
  }
  if (now_ns >= fallback->search_at_ns) search(fallback, now_ns);
  if (fallback->watch.lost && now_ns >= fallback->watch.opened_at_ns + kOpenEveryNs &&
      !open_watch(fallback, now_ns)) {
    fallback->watching = false;
    return fallback->search_at_ns;
  }
  return now_ns >= fallback->watch.next_ns ? look(fallback, levers, observer, now_ns)
                                           : fallback->watch.next_ns;
}

size_t mg_fallback_polled(const mg_fallback* fallback, struct pollfd polled[MG_WATCH_POLLED_MAX]) {
  return fallback->watching ? mg_watch_polled(&fallback->watch, mg_now_ns(), polled) : 0;
}

void mg_fallback_heard(mg_fallback* fallback, const struct pollfd* polled, size_t count) {
  if (fallback->watching) mg_watch_heard(&fallback->watch, polled, count, mg_now_ns());
}
