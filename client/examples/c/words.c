/* Counts the words on its standard input. While it reads it may hold much memory, and after that little of it
 * is in use: what its allocator keeps then goes back when memgovd asks.
 *
 *   cc -o words words.c $(pkg-config --cflags --libs memgov) && ./words <book.txt */

#include <memgov/memgov.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 16 };

typedef struct word {
  struct word* next;
  size_t count;
  char text[];
} word;

static word* g_words[BUCKETS];

/* What the governor asked for and what came of it; on the library's own thread. */
static void on_event(void* user, const memgov_event* event) {
  (void)user;
  if (event->kind != MEMGOV_EVENT_OUTCOME || event->outcome != MEMGOV_OUTCOME_DONE) return;
  fprintf(stderr, "gave back %lld KiB\n",
          ((long long)event->before_bytes - (long long)event->after_bytes) / 1024);
}

static void count(const char* text) {
  size_t hash = 5381;
  for (const char* at = text; *at != '\0'; ++at) hash = hash * 33 + (unsigned char)*at;
  word** place = &g_words[hash % BUCKETS];
  while (*place != NULL && strcmp((*place)->text, text) != 0) place = &(*place)->next;
  if (*place == NULL) {
    *place = calloc(1, sizeof(word) + strlen(text) + 1);
    if (*place == NULL) return;
    memcpy((*place)->text, text, strlen(text) + 1);
  }
  ++(*place)->count;
}

int main(void) {
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.name = "words";
  options.on_event = on_event;
  if (memgov_start(&options) != 0) return 1; /* no governor is no error */

  char text[256];
  while (scanf("%255s", text) == 1) count(text);
  size_t different = 0;
  const word* most = NULL;
  for (size_t i = 0; i < BUCKETS; ++i) {
    for (const word* each = g_words[i]; each != NULL; each = each->next) {
      ++different;
      if (most == NULL || each->count > most->count) most = each;
    }
  }
  printf("%zu different words, most often \"%s\" (memgov %s)\n", different, most == NULL ? "" : most->text,
         memgov_version());
  memgov_stop();
  return 0;
}
