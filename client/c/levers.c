#include "client/c/levers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/c/allocators/private.h"
#include "client/c/bounds.h"
#include "client/c/checkpoint.h"
#include "client/c/hooks.h"

static const uint64_t kWorthReleasing = 1u << 20;
static const uint64_t kMuch = 16u << 20;
static const uint64_t kLockedForNs = (uint64_t)60000 * MG_NS_PER_MS;

void mg_levers_init(mg_levers* levers, mg_allocators allocators, int statm_fd) {
  *levers = (mg_levers){.allocators = allocators, .statm_fd = statm_fd};
  for (size_t i = 0; i < allocators.count && levers->mode == MG_MODE_UNKNOWN; ++i) {
    levers->mode = allocators.list[i]->startup_mode;
  }
}

static mg_release_mode startup_mode(const mg_levers* levers) {
  mg_levers fresh;
  mg_levers_init(&fresh, levers->allocators, -1);
  return fresh.mode;
}

static mg_capabilities capabilities(const mg_levers* levers) {
  mg_capabilities all = {.release_in_chunks = levers->allocators.count > 0};
  for (size_t i = 0; i < levers->allocators.count; ++i) {
    const mg_capabilities* one = &levers->allocators.list[i]->capabilities;
    all.set_release_mode |= one->set_release_mode;
    all.release |= one->release;
    all.release_in_chunks &= one->release_in_chunks; /* one that cannot would return all it has */
    all.retroactive |= one->retroactive;
    all.needs_owner_thread |= one->needs_owner_thread;
    if (one->stall > all.stall) all.stall = one->stall;
  }
  return all;
}

void mg_levers_describe(const mg_levers* levers, mg_hello* hello) {
  const mg_allocators* allocators = &levers->allocators;
  size_t used = 0;
  hello->runtime[0] = '\0';
  for (size_t i = 0; i < allocators->count && used < sizeof(hello->runtime); ++i) {
    used += (size_t)snprintf(hello->runtime + used, sizeof(hello->runtime) - used, "%s%s",
                             i == 0 ? "" : " + ", allocators->list[i]->name);
  }
  if (allocators->unknown[0] != '\0' && used < sizeof(hello->runtime)) {
    snprintf(hello->runtime + used, sizeof(hello->runtime) - used, "%sunknown allocator (%.32s), no levers",
             used == 0 ? "" : " + ", allocators->unknown);
    used = strlen(hello->runtime);
  }
  if (allocators->others[0] != '\0' && used < sizeof(hello->runtime)) {
    snprintf(hello->runtime + used, sizeof(hello->runtime) - used, "; not driven: %s", allocators->others);
  }
  hello->capabilities = capabilities(levers);
  hello->startup_mode = startup_mode(levers);
}

bool mg_levers_look(mg_levers* levers, pthread_mutex_t* descriptors) {
  const mg_process now = mg_process_read(levers->statm_fd);
  const mg_look look = mg_private_look(&levers->allocators, now.anon_bytes, descriptors, now.now_ns);
  if (look == MG_LOOK_FOUND) ++levers->changes;
  return look != MG_LOOK_DONE;
}

/* Whether the last release showed that what the allocators keep is locked, and still is. */
static bool is_locked(const mg_levers* levers, uint64_t now_ns) {
  return now_ns < levers->locked_until_ns && mg_process_is_locked();
}

mg_report mg_levers_report(const mg_levers* levers) {
  mg_process process = mg_process_read(levers->statm_fd);
  mg_report report = {.retained_kind = MG_ESTIMATE_NONE, .mode = levers->mode};
  if (is_locked(levers, process.now_ns)) return report; /* whatever the allocators keep */
  bool silent = false;
  for (size_t i = 0; i < levers->allocators.count; ++i) {
    const mg_estimate estimate = levers->allocators.list[i]->estimate(&process);
    silent |= estimate.kind == MG_ESTIMATE_NONE;
    if (estimate.kind == MG_ESTIMATE_NONE) continue;
    report.live_bytes += estimate.live_bytes;
    report.retained_bytes += estimate.retained_bytes;
    report.lazily_freed_bytes += estimate.lazily_freed_bytes;
    if (report.retained_kind != MG_ESTIMATE_BOUND) report.retained_kind = estimate.kind;
    const uint64_t accounted = estimate.live_bytes + estimate.retained_bytes;
    process.anon_bytes -= accounted < process.anon_bytes ? accounted : process.anon_bytes;
  }
  /* "Little" of those who know is no answer for one that does not, beside much that nobody accounts for. */
  if (silent && report.retained_bytes < kMuch && process.anon_bytes >= kMuch) {
    return (mg_report){.retained_kind = MG_ESTIMATE_NONE, .mode = levers->mode};
  }
  report.non_heap_bytes = report.retained_kind == MG_ESTIMATE_EXACT ? process.anon_bytes : 0;
  return report;
}

__attribute__((format(printf, 2, 3))) static void decline(mg_outcome* outcome, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(outcome->why, sizeof(outcome->why), format, arguments);
  va_end(arguments);
  outcome->status = MEMGOV_OUTCOME_DECLINED;
}

static void fail(mg_outcome* outcome, const char* why) {
  snprintf(outcome->why, sizeof(outcome->why), "%s", why);
  outcome->status = MEMGOV_OUTCOME_FAILED;
}

/* Whether an allocator that comes after others may have something: a trim of glibc's malloc that returns
 * nothing costs as much as one that does. */
static bool is_worth_it(const mg_allocator* allocator, const mg_process* process) {
  const mg_estimate estimate = allocator->estimate(process);
  return estimate.kind == MG_ESTIMATE_NONE || estimate.retained_bytes >= kWorthReleasing;
}

/* The cheap allocator first (detection puts glibc last); the next only if that was not enough. */
static void release_each(const mg_levers* levers, const mg_directive* directive, bool freed,
                         mg_outcome* outcome) {
  outcome->status = MEMGOV_OUTCOME_DONE;
  bool any_done = false;
  for (size_t i = 0; i < levers->allocators.count; ++i) {
    mg_allocator* allocator = levers->allocators.list[i];
    const mg_process now = mg_process_read(levers->statm_fd);
    const uint64_t before = outcome->before_bytes;
    const uint64_t returned = i > 0 && before > now.resident_bytes ? before - now.resident_bytes : 0;
    if (i > 0 && (returned >= directive->bytes || !is_worth_it(allocator, &now))) continue;
    mg_release order = {.bytes = directive->bytes - returned,
                        .longest_stall_ns = (uint64_t)directive->longest_stall_ms * MG_NS_PER_MS,
                        .level = directive->level,
                        .freed = freed,
                        .statm_fd = levers->statm_fd};
    const char* error = allocator->release(&order);
    if (error != NULL) fail(outcome, error);
    if (order.declined) {
      if (!any_done) decline(outcome, "%s", order.stopped);
      continue;
    }
    if (!any_done && error == NULL) { /* what those before it declined counts no more */
      outcome->status = MEMGOV_OUTCOME_DONE;
      outcome->why[0] = '\0';
    }
    any_done = true;
    if (order.stopped[0] != '\0') {
      snprintf(outcome->why, sizeof(outcome->why), "%s", order.stopped);
      return; /* the others could not keep the bound either */
    }
  }
}

/* `freed`: the application has freed for this just now. What is unmapped leaves a process with locked memory,
 * too; so it is tried, and only when nothing came is it left alone. */
static void release(mg_levers* levers, const mg_directive* directive, bool freed, mg_outcome* outcome) {
  static const char locked[] = "the process has locked its memory (mlockall): what its allocator keeps stays";
  const uint64_t begin_ns = mg_now_ns();
  if (levers->allocators.count == 0) {
    decline(outcome, "no levers: malloc belongs to %s", levers->allocators.unknown);
  } else if (!freed && is_locked(levers, begin_ns)) {
    decline(outcome, "%s", locked);
  } else {
    release_each(levers, directive, freed, outcome);
    if (outcome->status != MEMGOV_OUTCOME_DONE) return;
    const uint64_t left = mg_process_read(levers->statm_fd).resident_bytes;
    const bool gave = outcome->before_bytes >= left + kWorthReleasing;
    levers->locked_until_ns = gave || !mg_process_is_locked() ? 0 : begin_ns + kLockedForNs;
    if (levers->locked_until_ns != 0) fail(outcome, locked);
  }
}

/* NULL when at least one of those that have modes has a lazy one. */
static const char* why_no_lazy(const mg_levers* levers) {
  const char* why = NULL;
  for (size_t i = 0; i < levers->allocators.count; ++i) {
    const mg_allocator* allocator = levers->allocators.list[i];
    if (!allocator->capabilities.set_release_mode) continue;
    if (allocator->why_no_lazy == NULL) return NULL;
    why = allocator->why_no_lazy;
  }
  return why;
}

/* The application's caches; then the allocator, which holds what they freed. */
static void shed(mg_levers* levers, const mg_directive* directive, uint64_t until_ns, mg_outcome* outcome) {
  const mg_shed done = mg_hooks_shed(directive->level, directive->bytes, until_ns);
  if (done.called + done.left == 0) {
    decline(outcome, "%s",
            mg_hooks_any() ? "it asks for 0 bytes" : "the application has registered no cache");
    return;
  }
  outcome->status = MEMGOV_OUTCOME_DONE;
  snprintf(outcome->why, sizeof(outcome->why), "%s", done.text);
  if (done.given == 0) return;
  for (size_t i = 0; i < levers->allocators.count; ++i) { /* the hooks freed on this thread */
    if (levers->allocators.list[i]->release_thread != NULL) levers->allocators.list[i]->release_thread();
  }
  mg_outcome released = {.before_bytes = outcome->before_bytes};
  release(levers, directive, true, &released);
  mg_checkpoint_ask(&levers->allocators);
  /* What the hooks did is done, whatever the allocator says. */
  if (released.status != MEMGOV_OUTCOME_DONE) {
    snprintf(outcome->why, sizeof(outcome->why), "%.110s; not released: %.60s", done.text, released.why);
  }
}

static void set_mode(mg_levers* levers, const mg_directive* directive, mg_outcome* outcome) {
  const mg_allocators* allocators = &levers->allocators;
  if (directive->mode != MG_MODE_LAZY && directive->mode != MG_MODE_EAGER) {
    decline(outcome, "release mode %d is neither LAZY nor EAGER", (int)directive->mode);
    return;
  }
  if (directive->ttl_ms == 0) {
    decline(outcome, "ttl_ms is 0, and a setting must end by itself");
    return;
  }
  if (!capabilities(levers).set_release_mode) {
    decline(outcome, "%s",
            allocators->count > 0 ? allocators->list[0]->why_no_mode : "no levers: unknown allocator");
    return;
  }
  if (directive->mode == MG_MODE_LAZY && why_no_lazy(levers) != NULL) {
    decline(outcome, "%s", why_no_lazy(levers));
    return;
  }
  outcome->status = MEMGOV_OUTCOME_DONE;
  for (size_t i = 0; i < allocators->count; ++i) {
    mg_allocator* allocator = allocators->list[i];
    if (!allocator->capabilities.set_release_mode) continue;
    if (directive->mode == MG_MODE_LAZY && allocator->why_no_lazy != NULL) {
      allocator->restore_mode(); /* as lazy as it can be */
      continue;
    }
    const char* error = allocator->set_mode(directive->mode);
    if (error != NULL) {
      fail(outcome, error);
      mg_levers_revert(levers);
      return;
    }
  }
  levers->mode = directive->mode;
  const uint64_t ttl_ms = directive->ttl_ms < MG_TTL_MAX_MS ? directive->ttl_ms : MG_TTL_MAX_MS;
  levers->revert_at_ns = mg_now_ns() + ttl_ms * MG_NS_PER_MS;
}

mg_outcome mg_levers_carry_out(mg_levers* levers, const mg_directive* directive, uint64_t received_ns) {
  mg_outcome outcome = {.id = directive->id};
  const mg_process begin = mg_process_read(levers->statm_fd);
  const uint64_t begin_cpu_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  outcome.before_bytes = begin.resident_bytes;
  const uint64_t deadline_ns = received_ns + (uint64_t)directive->deadline_ms * MG_NS_PER_MS;
  if (directive->deadline_ms != 0 && begin.now_ns >= deadline_ns) {
    decline(&outcome, "the deadline of %u ms had passed before it could begin", directive->deadline_ms);
  } else {
    switch (directive->action) {
      case MEMGOV_ACTION_RELEASE:
        release(levers, directive, false, &outcome);
        mg_checkpoint_ask(&levers->allocators);
        break;
      case MEMGOV_ACTION_SET_RELEASE_MODE:
        set_mode(levers, directive, &outcome);
        break;
      case MEMGOV_ACTION_COLLECT:
        decline(&outcome, "there is no garbage collector here; Release is what returns memory");
        break;
      case MEMGOV_ACTION_SET_SOFT_LIMIT:
        decline(&outcome, "the allocator has no soft limit");
        break;
      case MEMGOV_ACTION_SHED:
        shed(levers, directive, directive->deadline_ms != 0 ? deadline_ns : 0, &outcome);
        break;
      case MEMGOV_ACTION_NONE:
        decline(&outcome, "memgov-c " MEMGOV_VERSION " does not know this kind of directive");
        break;
    }
  }
  const mg_process end = mg_process_read(levers->statm_fd);
  outcome.after_bytes = end.resident_bytes;
  outcome.wall_ns = end.now_ns - begin.now_ns;
  outcome.cpu_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_cpu_ns;
  return outcome;
}

void mg_levers_revert(mg_levers* levers) {
  for (size_t i = 0; i < levers->allocators.count; ++i) {
    if (levers->allocators.list[i]->restore_mode != NULL) levers->allocators.list[i]->restore_mode();
  }
  levers->mode = startup_mode(levers);
  levers->revert_at_ns = 0;
}
