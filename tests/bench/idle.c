/* A program that does nothing, with or without libmemgov: what the library adds is the difference.
 *
 * Prints one line when it is up and attached (or would be), then waits for the end of stdin. */

#include <stdio.h>
#include <unistd.h>

#ifdef WITH_MEMGOV
#include "client/c/memgov.h"
#endif

int main(void) {
#ifdef WITH_MEMGOV
  if (memgov_start(NULL) != 0) return 1;
#endif
  printf("{\"up\":true}\n");
  fflush(stdout);
#ifdef WITH_MEMGOV
  for (int i = 0; i < 500 && memgov_status() < MEMGOV_OBSERVING; ++i) usleep(10000);
#endif
  printf("{\"settled\":true}\n");
  fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  return 0;
}
