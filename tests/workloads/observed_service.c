/* A service that does nothing but print what its client tells it, a JSON line for each event:
 *
 *     observed_service [--local] [--no-events]
 *
 * Ends when its input does. For tests of whom a client trusts, which copy it and give the copy other rights.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/c/memgov.h"

/* Runs on the client's thread: one write a line. */
static void on_event(void* user, const memgov_event* event) {
  (void)user;
  char text[256];
  size_t used = 0;
  for (const char* at = event->text; *at != '\0' && used + 1 < sizeof(text); ++at) {
    text[used++] = *at == '"' || *at == '\\' || (unsigned char)*at < 0x20 ? '?' : *at;
  }
  text[used] = '\0';
  printf("{\"kind\":%d,\"action\":%d,\"outcome\":%d,\"text\":\"%s\"}\n", (int)event->kind, (int)event->action,
         (int)event->outcome, text);
}

int main(int count, char** arguments) {
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.on_event = on_event;
  for (int i = 1; i < count; ++i) {
    if (strcmp(arguments[i], "--local") == 0) options.local = 1;
    if (strcmp(arguments[i], "--no-events") == 0) options.on_event = NULL;
  }
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  const int error = memgov_start(&options);
  printf("{\"ready\":true,\"error\":%d,\"uid\":%d,\"euid\":%d}\n", error, (int)getuid(), (int)geteuid());
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  memgov_stop();
  return 0;
}
