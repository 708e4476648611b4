/* Which allocator does this process use? Names are found in two ways, because neither sees all: a weak
 * reference finds what is linked statically beside us, dlsym what is loaded or preloaded. */

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/allocators/allocator.h"
#include "client/c/allocators/private.h"

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

/* The others have no other names. */
#define WEAK __attribute__((weak))
/* NOLINTBEGIN(readability-identifier-naming): theirs */
extern int MallocExtension_GetNumericProperty(const char*, size_t*) WEAK;
extern int MallocExtension_SetNumericProperty(const char*, size_t) WEAK;
extern void MallocExtension_ReleaseToSystem(size_t) WEAK;
extern bool MallocExtension_Internal_GetNumericProperty(const char*, size_t, size_t*) WEAK;
extern size_t MallocExtension_Internal_ReleaseMemoryToSystem(size_t) WEAK;
extern bool TCMalloc_Internal_GetHPAASubrelease(void) WEAK;
extern int TCMalloc_Internal_GetMadvise(void) WEAK;
extern void TCMalloc_Internal_SetMadvise(int) WEAK;
extern void MallocExtension_Internal_GetSkipSubreleaseShortInterval(mg_tcmalloc_duration*) WEAK;
extern void MallocExtension_Internal_GetSkipSubreleaseLongInterval(mg_tcmalloc_duration*) WEAK;
extern void MallocExtension_Internal_SetSkipSubreleaseShortInterval(mg_tcmalloc_duration) WEAK;
extern void MallocExtension_Internal_SetSkipSubreleaseLongInterval(mg_tcmalloc_duration) WEAK;
/* NOLINTEND(readability-identifier-naming) */
extern const char* tc_version(int*, int*, const char**) WEAK;
extern int mi_version(void) WEAK;
extern void mi_collect(bool) WEAK;
extern void mi_thread_init(void) WEAK;
extern long mi_option_get(int) WEAK;
extern void mi_option_set(int, long) WEAK;

/* Sets a function pointer to what is linked beside us, or to what is loaded under that name. */
#define FIND(pointer, function)                                                  \
  do {                                                                           \
    (pointer) = (function);                                                      \
    if ((pointer) == NULL) *(void**)&(pointer) = dlsym(RTLD_DEFAULT, #function); \
  } while (0)

static mg_gperftools find_gperftools(void) {
  mg_gperftools found;
  FIND(found.get_property, MallocExtension_GetNumericProperty);
  FIND(found.set_property, MallocExtension_SetNumericProperty);
  FIND(found.release_to_system, MallocExtension_ReleaseToSystem);
  FIND(found.version, tc_version);
  return found;
}

static mg_tcmalloc find_tcmalloc(void) {
  mg_tcmalloc found = {.get_property = NULL};
  FIND(found.get_property, MallocExtension_Internal_GetNumericProperty);
  FIND(found.release_to_system, MallocExtension_Internal_ReleaseMemoryToSystem);
  FIND(found.subreleases, TCMalloc_Internal_GetHPAASubrelease);
  FIND(found.get_madvise, TCMalloc_Internal_GetMadvise);
  FIND(found.set_madvise, TCMalloc_Internal_SetMadvise);
#if __SIZEOF_POINTER__ == 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  FIND(found.get_skip_short, MallocExtension_Internal_GetSkipSubreleaseShortInterval);
  FIND(found.get_skip_long, MallocExtension_Internal_GetSkipSubreleaseLongInterval);
  FIND(found.set_skip_short, MallocExtension_Internal_SetSkipSubreleaseShortInterval);
  FIND(found.set_skip_long, MallocExtension_Internal_SetSkipSubreleaseLongInterval);
#endif
  return found;
}

static mg_mimalloc find_mimalloc(void) {
  mg_mimalloc found;
  FIND(found.version, mi_version);
  FIND(found.collect, mi_collect);
  FIND(found.thread_init, mi_thread_init);
  FIND(found.option_get, mi_option_get);
  FIND(found.option_set, mi_option_set);
  return found;
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

/* Adds an allocator, if its version is one that we know. Whether its file owns malloc as well. `function`
 * points to one of its functions. */
static bool add(mg_allocators* found, mg_allocator* allocator, const void* function,
                const char* malloc_owner) {
  if (allocator == NULL) return false;
  found->list[found->count++] = allocator;
  const void* address = NULL;
  memcpy(&address, function, sizeof(address));
  allocator->identity = address;
  return strcmp(malloc_owner, owner_of(address)) == 0;
}

mg_allocators mg_detect_allocators(void) {
  /* An allocator under a prefix stands beside the malloc of libc; one that takes malloc's name replaces it.
   * So the question is whose malloc the process calls. */
  const char* owner = owner_of(find_malloc());
  mg_allocators found = {.count = 0};
  bool known = false;
  const mg_mallctl control = find_mallctl();
  if (control != NULL) known |= add(&found, mg_jemalloc_allocator(control), &control, owner);
  const mg_gperftools gperftools = find_gperftools();
  if (gperftools.get_property != NULL && gperftools.set_property != NULL &&
      gperftools.release_to_system != NULL) {
    known |= add(&found, mg_gperftools_allocator(&gperftools), &gperftools.get_property, owner);
  }
  const mg_tcmalloc tcmalloc = find_tcmalloc();
  if (tcmalloc.get_property != NULL && tcmalloc.release_to_system != NULL) {
    known |= add(&found, mg_tcmalloc_allocator(&tcmalloc), &tcmalloc.get_property, owner);
  }
  const mg_mimalloc mimalloc = find_mimalloc();
  if (mimalloc.version != NULL && mimalloc.collect != NULL && mimalloc.thread_init != NULL &&
      mimalloc.option_get != NULL && mimalloc.option_set != NULL) {
    known |= add(&found, mg_mimalloc_allocator(&mimalloc), &mimalloc.collect, owner);
  }
  if (begins_with(owner, "libc.so.") || begins_with(owner, "libc-")) {
    mg_allocator* glibc = mg_glibc_allocator();
    if (glibc != NULL) {
      found.list[found.count++] = glibc;
      mg_private_add(&found);
      return found;
    }
  }
  mg_private_add(&found);
  if (!known) snprintf(found.unknown, sizeof(found.unknown), "%s", *owner == '\0' ? "?" : owner);
  return found;
}
