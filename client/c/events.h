/* Tells the application what happened: its observer gets the event, its log a line of it. */

#ifndef MEMGOV_CLIENT_C_EVENTS_H_
#define MEMGOV_CLIENT_C_EVENTS_H_

#include "client/c/memgov.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mg_observer {
  void (*log)(void* user, const char* line);
  void (*on_event)(void* user, const memgov_event* event);
  void* user;
} mg_observer;

/* Fills in size, a missing at_ns (now) and a missing text, and calls both. Agent thread, no lock held. */
void mg_emit(const mg_observer* observer, memgov_event event);

/* A log callback that writes the line to standard error. */
void mg_log_to_stderr(void* user, const char* line);

#ifdef __cplusplus
}
#endif

#endif
