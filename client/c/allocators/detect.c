/* Which allocator does this process use? Names are found in two ways, because neither sees all: a weak
 * reference finds what is linked statically beside us, dlsym what is loaded or preloaded. */

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/allocators/allocator.h"

/* jemalloc's names: plain; Rust's tikv-jemallocator; --with-jemalloc-prefix=je_. */
extern int mallctl(const char*, void*, size_t*, void*, size_t) __attribute__((weak));
extern int _rjem_mallctl(const char*, void*, size_t*, void*, size_t) __attribute__((weak));
extern int je_mallctl(const char*, void*, size_t*, void*, size_t) __attribute__((weak));

static mg_mallctl find_mallctl(void) {
  if (mallctl != NULL) return mallctl;
  if (_rjem_mallctl != NULL) return _rjem_mallctl;
  if (je_mallctl != NULL) return je_mallctl;
  static const char* const names[] = {"mallctl", "_rjem_mallctl", "je_mallctl"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
    mg_mallctl found = NULL;
    *(void**)&found = dlsym(RTLD_DEFAULT, names[i]); /* POSIX's way around C's separate function pointers */
    if (found != NULL) return found;
  }
  return NULL;
}

/* The file that an address belongs to, without its directories. */
static const char* owner_of(const void* address) {
  Dl_info info;
  if (address == NULL || dladdr(address, &info) == 0 || info.dli_fname == NULL) return "";
  const char* slash = strrchr(info.dli_fname, '/');
  return slash == NULL ? info.dli_fname : slash + 1;
}

static bool begins_with(const char* text, const char* beginning) {
  return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* An address in whoever has the process's malloc. An executable that is not position independent (Debian's
 * python3) and takes malloc's address makes that of a jump table of its own everybody's; its symbol is an
 * undefined one. Such an executable hardly takes the addresses of all that an allocator defines. */
static const void* find_malloc(void) {
  static const char* const names[] = {"malloc", "calloc", "realloc", "posix_memalign", "malloc_usable_size"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
    const void* address = dlsym(RTLD_DEFAULT, names[i]);
    const ElfW(Sym)* symbol = NULL;
    Dl_info info;
    if (address == NULL || dladdr1(address, &info, (void**)&symbol, RTLD_DL_SYMENT) == 0) continue;
    if (symbol == NULL || symbol->st_shndx != SHN_UNDEF) return address;
  }
  return dlsym(RTLD_DEFAULT, "malloc");
}

mg_allocators mg_detect_allocators(void) {
  mg_allocators found = {.count = 0};
  const mg_mallctl control = find_mallctl();
  mg_allocator* jemalloc = control == NULL ? NULL : mg_jemalloc_allocator(control);
  if (jemalloc != NULL) found.list[found.count++] = jemalloc;

  /* A prefixed jemalloc stands beside the malloc of libc; one without a prefix replaces it. So the question
   * is whose malloc the process calls. */
  const void* process_malloc = find_malloc();
  const char* owner = owner_of(process_malloc);
  const void* control_address = NULL;
  memcpy(&control_address, &control, sizeof(control));
  const bool is_jemalloc = jemalloc != NULL && strcmp(owner, owner_of(control_address)) == 0;
  if (begins_with(owner, "libc.so.") || begins_with(owner, "libc-")) {
    mg_allocator* glibc = mg_glibc_allocator();
    if (glibc != NULL) {
      found.list[found.count++] = glibc;
      return found;
    }
  }
  if (!is_jemalloc) snprintf(found.unknown, sizeof(found.unknown), "%s", *owner == '\0' ? "?" : owner);
  return found;
}
