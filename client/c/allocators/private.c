#include "client/c/allocators/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/c/allocators/objects.h"

static const uint64_t kWorthLooking = 64u << 20;

enum { INSTANCES_MAX = 8 };

typedef enum kind { JEMALLOC, MIMALLOC } kind;

typedef struct instance {
  kind kind;
  char name[64]; /* "jemalloc 5.3.0 in _polars.so" */
  mg_mallctl mallctl;
  uint64_t page_bytes;
  void (*collect)(bool force);
  void (*thread_init)(void); /* or NULL: then the next two are there */
  void* (*malloc_aligned)(size_t size, size_t alignment);
  void (*free)(void* memory);
} instance;

static struct {
  instance list[INSTANCES_MAX];
  size_t count;
  char others[64];         /* "an old jemalloc in libx.so" */
  pthread_mutex_t calling; /* held while one of theirs is called; fork() waits for it */
  bool looking;            /* not all objects have been looked into */
} g_private = {.calling = PTHREAD_MUTEX_INITIALIZER};

void mg_private_before_fork(void) { pthread_mutex_lock(&g_private.calling); }
void mg_private_after_fork_in_parent(void) { pthread_mutex_unlock(&g_private.calling); }
void mg_private_after_fork_in_child(void) { pthread_mutex_unlock(&g_private.calling); }

/* --- driving them -----------------------------------------------------------------------------------------
 */

static bool get(const instance* one, const char* name, void* value, size_t size) {
  return one->mallctl(name, value, &size, NULL, 0) == 0;
}

static uint64_t pages(const instance* one, const char* name) {
  size_t count = 0;
  return get(one, name, &count, sizeof(count)) ? count * one->page_bytes : 0;
}

static mg_estimate private_estimate(const mg_process* process) {
  (void)process;
  mg_estimate sum = {.kind = MG_ESTIMATE_NONE};
  pthread_mutex_lock(&g_private.calling);
  for (size_t i = 0; i < g_private.count; ++i) {
    const instance* one = &g_private.list[i];
    if (one->kind != JEMALLOC) continue;
    uint64_t epoch = 1;
    one->mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    const uint64_t muzzy = pages(one, "stats.arenas.4096.pmuzzy");
    sum.kind = MG_ESTIMATE_EXACT;
    sum.live_bytes += pages(one, "stats.arenas.4096.pactive");
    sum.retained_bytes += pages(one, "stats.arenas.4096.pdirty") + muzzy;
    sum.lazily_freed_bytes += muzzy;
  }
  pthread_mutex_unlock(&g_private.calling);
  return sum;
}

static const char* release_one(const instance* one) {
  if (one->kind == JEMALLOC) {
    return one->mallctl("arena.4096.purge", NULL, NULL, NULL, 0) == 0 ? NULL
                                                                      : "a private jemalloc refused to purge";
  }
  /* A thread that never allocated has no heap, and mi_collect() would do nothing at all. */
  if (one->thread_init != NULL) {
    one->thread_init();
  } else {
    one->free(one->malloc_aligned(64, 16));
  }
  one->collect(true);
  return NULL;
}

static const char* private_release(mg_release* release) {
  const char* error = NULL;
  const uint64_t before = mg_process_read(release->statm_fd).resident_bytes;
  for (size_t i = 0; i < g_private.count; ++i) {
    pthread_mutex_lock(&g_private.calling);
    const char* const its = release_one(&g_private.list[i]);
    pthread_mutex_unlock(&g_private.calling);
    if (its != NULL) error = its;
    const uint64_t now = mg_process_read(release->statm_fd).resident_bytes;
    if (release->bytes != 0 && before >= now + release->bytes) break;
  }
  return error;
}

void mg_private_add(mg_allocators* found) {
  static mg_allocator allocator = {
      .capabilities = {.release = true, .retroactive = true, .stall = MG_STALL_MEDIUM},
      .why_no_mode = "the allocators inside of other objects are left as they were configured",
      .estimate = private_estimate,
      .release = private_release};
  memcpy(found->others, g_private.others, sizeof(found->others));
  if (g_private.count == 0) return;
  size_t used = 0;
  for (size_t i = 0; i < g_private.count && used < sizeof(allocator.name); ++i) {
    allocator.capabilities.needs_owner_thread |= g_private.list[i].kind == MIMALLOC;
    used += (size_t)snprintf(allocator.name + used, sizeof(allocator.name) - used, "%s%s",
                             i == 0 ? "" : " + ", g_private.list[i].name);
  }
  size_t at = found->count;
  for (size_t i = 0; i < found->count; ++i) {
    if (found->list[i] == &allocator) return;
    if (found->list[i]->is_last) at = i;
  }
  if (found->count == MG_ALLOCATORS_MAX) return;
  memmove(&found->list[at + 1], &found->list[at], (found->count - at) * sizeof(found->list[0]));
  found->list[at] = &allocator;
  ++found->count;
}

/* --- finding them -----------------------------------------------------------------------------------------
 */

/* The first two are what an allocator is known by, the others of its kind show that it is one. */
enum { MALLCTL, MI_COLLECT, MALLCTL_BY_MIB, MI_VERSION, MI_THREAD_INIT, MI_MALLOC_ALIGNED, MI_FREE, NAMES };
static const char* const kNames[NAMES] = {"mallctl",        "mi_collect",        "mallctlbymib", "mi_version",
                                          "mi_thread_init", "mi_malloc_aligned", "mi_free"};

typedef struct search {
  mg_object object;
  int file;
  mg_symbol symbols[MG_FOUND_MAX];
  size_t count;
} search;

static void* function_of(const search* search, size_t name, const char* prefix) {
  for (size_t i = 0; i < search->count; ++i) {
    const mg_symbol* symbol = &search->symbols[i];
    if (symbol->name != name || strcmp(symbol->prefix, prefix) != 0) continue;
    return mg_object_function(search->file, &search->object, symbol);
  }
  return NULL;
}

static const char* short_name(const mg_object* object) {
  static char self[64];
  const char* path = object->path;
  if (object->executable) {
    const ssize_t length = readlink(path, self, sizeof(self) - 1);
    self[length > 0 ? length : 0] = '\0';
    path = self;
  }
  const char* slash = strrchr(path, '/');
  return slash == NULL ? path : slash + 1;
}

/* NULL, or why it is not driven. */
static const char* look_at_jemalloc(const search* search, const char* prefix, instance* one) {
  one->kind = JEMALLOC;
  *(void**)&one->mallctl = function_of(search, MALLCTL, prefix);
  if (one->mallctl == NULL || function_of(search, MALLCTL_BY_MIB, prefix) == NULL) return "jemalloc?";
  const char* version = NULL;
  size_t page = 0;
  if (!get(one, "version", &version, sizeof(version)) || version == NULL || strtol(version, NULL, 10) < 5 ||
      !get(one, "arenas.page", &page, sizeof(page))) {
    return "an old jemalloc";
  }
  one->page_bytes = page;
  snprintf(one->name, sizeof(one->name), "jemalloc %.*s in %.32s", (int)strcspn(version, "-") % 16, version,
           short_name(&search->object));
  return NULL;
}

static const char* look_at_mimalloc(const search* search, const char* prefix, instance* one) {
  one->kind = MIMALLOC;
  *(void**)&one->collect = function_of(search, MI_COLLECT, prefix);
  *(void**)&one->thread_init = function_of(search, MI_THREAD_INIT, prefix);
  *(void**)&one->malloc_aligned = function_of(search, MI_MALLOC_ALIGNED, prefix);
  *(void**)&one->free = function_of(search, MI_FREE, prefix);
  int (*version)(void) = NULL;
  *(void**)&version = function_of(search, MI_VERSION, prefix);
  const bool whole = one->thread_init != NULL && version != NULL;
  if (one->collect == NULL || (!whole && (one->malloc_aligned == NULL || one->free == NULL)))
    return "mimalloc?";
  snprintf(one->name, sizeof(one->name), "mimalloc in %.32s", short_name(&search->object));
  return NULL;
}

/* Whether a driver of its own, or one of these, has that function already. */
static bool is_known(const mg_allocators* found, const instance* one) {
  const void* function =
      one->kind == JEMALLOC ? *(const void* const*)&one->mallctl : *(const void* const*)&one->collect;
  for (size_t i = 0; i < found->count; ++i) {
    if (found->list[i]->identity != NULL && found->list[i]->identity == function) return true;
  }
  for (size_t i = 0; i < g_private.count; ++i) {
    const instance* other = &g_private.list[i];
    if (other->kind != one->kind) continue;
    if (one->kind == JEMALLOC ? other->mallctl == one->mallctl : other->collect == one->collect) return true;
  }
  return false;
}

/* An object has one mimalloc, though it may export some of its functions again under a prefix: the one with
 * all its names counts. */
static bool is_better_than_known(const search* search, const mg_symbol* symbol) {
  if (symbol->name != MI_COLLECT) return true;
  for (size_t i = 0; i < search->count; ++i) {
    const mg_symbol* other = &search->symbols[i];
    if (other->name == MI_THREAD_INIT && strcmp(other->prefix, symbol->prefix) == 0) return true;
  }
  for (size_t i = 0; i < search->count; ++i) {
    if (search->symbols[i].name == MI_THREAD_INIT) return false;
  }
  return true;
}

static bool take(mg_allocators* found, const search* search) {
  bool changed = false;
  for (size_t i = 0; i < search->count; ++i) {
    const mg_symbol* symbol = &search->symbols[i];
    if (symbol->name > MI_COLLECT || !is_better_than_known(search, symbol)) continue;
    instance one = {.kind = JEMALLOC};
    const char* why = symbol->name == MALLCTL ? look_at_jemalloc(search, symbol->prefix, &one)
                                              : look_at_mimalloc(search, symbol->prefix, &one);
    if (why == NULL && is_known(found, &one)) continue;
    if (why == NULL && g_private.count < INSTANCES_MAX) {
      g_private.list[g_private.count++] = one;
    } else if (g_private.others[0] == '\0') {
      snprintf(g_private.others, sizeof(g_private.others), "%.24s in %.32s", why != NULL ? why : one.name,
               short_name(&search->object));
    }
    changed = true;
  }
  return changed;
}

mg_look mg_private_look(mg_allocators* found, uint64_t anon_bytes, pthread_mutex_t* descriptors,
                        uint64_t now_ns) {
  static search search; /* large, and there is one agent */
  if (anon_bytes < kWorthLooking) return MG_LOOK_DONE;
  g_private.looking |= mg_objects_have_changed(descriptors, now_ns);
  if (!g_private.looking) return MG_LOOK_DONE;
  if (!mg_objects_next(descriptors, &search.object)) {
    g_private.looking = false;
    return MG_LOOK_DONE;
  }
  search.file = mg_object_open(descriptors, &search.object);
  if (search.file < 0) return MG_LOOK_MORE;
  bool changed = false;
  search.count = mg_object_find(search.file, kNames, MALLCTL_BY_MIB, search.symbols);
  if (search.count > 0 && mg_object_keep(search.file, &search.object)) {
    search.count = mg_object_find(search.file, kNames, NAMES, search.symbols);
    pthread_mutex_lock(&g_private.calling);
    changed = take(found, &search);
    pthread_mutex_unlock(&g_private.calling);
    if (changed) mg_private_add(found);
  }
  pthread_mutex_lock(descriptors);
  close(search.file);
  pthread_mutex_unlock(descriptors);
  return changed ? MG_LOOK_FOUND : MG_LOOK_MORE;
}
