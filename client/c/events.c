#include "client/c/events.h"

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/c/process.h"

enum { LINE_MAX_BYTES = 512 };

static unsigned long long mib(uint64_t bytes) { return (unsigned long long)(bytes >> 20); }

static const char* action_name(memgov_action action) {
  switch (action) {
    case MEMGOV_ACTION_SET_RELEASE_MODE:
      return "set release mode";
    case MEMGOV_ACTION_RELEASE:
      return "release";
    case MEMGOV_ACTION_COLLECT:
      return "collect";
    case MEMGOV_ACTION_SET_SOFT_LIMIT:
      return "set soft limit";
    case MEMGOV_ACTION_SHED:
      return "shed";
    case MEMGOV_ACTION_NONE:
      break;
  }
  return "unknown action";
}

/* `what` was carried out, or not. */
static void describe_outcome(const memgov_event* event, const char* what, char line[LINE_MAX_BYTES]) {
  if (event->outcome != MEMGOV_OUTCOME_DONE) {
    snprintf(line, LINE_MAX_BYTES, "memgov: %s %s: %s", what,
             event->outcome == MEMGOV_OUTCOME_DECLINED ? "declined" : "failed", event->text);
    return;
  }
  snprintf(line, LINE_MAX_BYTES, "memgov: %s done: resident %llu -> %llu MiB in %llu us%s%s", what,
           mib(event->before_bytes), mib(event->after_bytes),
           (unsigned long long)event->wall_ns / MG_NS_PER_US, event->text[0] == '\0' ? "" : ": ",
           event->text);
}

static void describe(const memgov_event* event, char line[LINE_MAX_BYTES]) {
  const unsigned long long id = event->directive_id;
  char what[64];
  switch (event->kind) {
    case MEMGOV_EVENT_CONNECTED:
      snprintf(line, LINE_MAX_BYTES, "memgov: connected to %s", event->text);
      break;
    case MEMGOV_EVENT_WELCOMED:
      snprintf(line, LINE_MAX_BYTES, "memgov: governed in %s, %s", event->text,
               event->enforcing ? "directives may come" : "observed only");
      break;
    case MEMGOV_EVENT_DIRECTIVE:
      snprintf(line, LINE_MAX_BYTES, "memgov: directive %llu: %s, %llu MiB: %s", id,
               action_name(event->action), mib(event->bytes), event->text);
      break;
    case MEMGOV_EVENT_OUTCOME:
      snprintf(what, sizeof(what), "directive %llu", id);
      describe_outcome(event, what, line);
      break;
    case MEMGOV_EVENT_DISCONNECTED:
      snprintf(line, LINE_MAX_BYTES, "memgov: not connected: %s", event->text);
      break;
    case MEMGOV_EVENT_LOCAL_ACTION:
      snprintf(what, sizeof(what), "without a governor: %s, %llu MiB,", action_name(event->action),
               mib(event->bytes));
      describe_outcome(event, what, line);
      break;
    case MEMGOV_EVENT_LOCAL_WATCH:
    case MEMGOV_EVENT_REVERTED:
      snprintf(line, LINE_MAX_BYTES, "memgov: %s", event->text);
      break;
  }
}

void mg_emit(const mg_observer* observer, memgov_event event) {
  event.size = sizeof(event);
  if (event.at_ns == 0) event.at_ns = mg_now_ns();
  if (event.text == NULL) event.text = "";
  if (observer->on_event != NULL) observer->on_event(observer->user, &event);
  if (observer->log == NULL) return;
  char line[LINE_MAX_BYTES] = "";
  describe(&event, line);
  observer->log(observer->user, line);
}

void mg_log_to_stderr(void* user, const char* line) {
  (void)user;
  /* Not stdio: it may malloc, and the application may hold its lock. */
  const struct iovec parts[] = {{(void*)line, strlen(line)}, {(void*)"\n", 1}};
  const ssize_t written = writev(STDERR_FILENO, parts, 2);
  (void)written;
}
