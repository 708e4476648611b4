/* The environment, as far as it may be believed. A program that has more rights than who started it
 * (set-user-ID, set-group-ID, file capabilities: the kernel's AT_SECURE) is handed an environment by somebody
 * with fewer rights, who must not choose whom it obeys or which files it opens. There every variable counts
 * as not set; so does one about the allocator, whose library mostly reads it in the same way. */

#ifndef MEMGOV_CLIENT_C_ENVIRONMENT_H_
#define MEMGOV_CLIENT_C_ENVIRONMENT_H_

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

static inline bool mg_environment_counts(void) { return getauxval(AT_SECURE) == 0; }

/* NULL: not set, or not to be believed. */
static inline const char* mg_environment(const char* variable) { return secure_getenv(variable); }

/* A switch: set, not empty, and not "0". */
static inline bool mg_environment_says(const char* variable) {
  const char* value = mg_environment(variable);
  return value != NULL && *value != '\0' && strcmp(value, "0") != 0;
}

#endif
