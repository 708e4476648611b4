/* A malloc that nobody knows, and that counts the calls of the agent's thread: enough of one to be the
 * process's, while glibc's does the work. */

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

void* libc_malloc(size_t size) __asm__("__libc_malloc");
void* libc_calloc(size_t count, size_t size) __asm__("__libc_calloc");
void* libc_realloc(void* memory, size_t size) __asm__("__libc_realloc");
void libc_free(void* memory) __asm__("__libc_free");

static atomic_int g_agent_calls;

int odd_malloc_agent_calls(void) { return atomic_load(&g_agent_calls); }

static void count(void) {
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  if (strcmp(name, "memgov") == 0) atomic_fetch_add(&g_agent_calls, 1);
}

void* malloc(size_t size) {
  count();
  return libc_malloc(size);
}

void* calloc(size_t elements, size_t size) {
  count();
  return libc_calloc(elements, size);
}

void* realloc(void* memory, size_t size) {
  count();
  return libc_realloc(memory, size);
}

void free(void* memory) {
  if (memory != NULL) count();
  libc_free(memory);
}
