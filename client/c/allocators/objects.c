#include "client/c/allocators/objects.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

static const uint64_t kAtRestNs = 1000000000;
static const uint64_t kTableMost = 256u << 20; /* bytes of names; more than any object has */

enum { CHUNK = 64 * 1024, OVERLAP = 512, RANGES_MAX = 64, SECTIONS_MAX = 128, CODE = 64 };

/* --- what is loaded ---------------------------------------------------------------------------------------
 */

static struct {
  unsigned long long adds, subs; /* as last seen */
  unsigned long long done_adds, done_subs;
  uint64_t since_ns;
  size_t count;
  uint64_t known[MG_OBJECTS_MAX]; /* of those that were looked into */
} g_objects;

static int read_counts(struct dl_phdr_info* info, size_t size, void* counts) {
  (void)size;
  memcpy(counts, &info->dlpi_adds, 2 * sizeof(info->dlpi_adds));
  return 1;
}

bool mg_objects_have_changed(pthread_mutex_t* descriptors, uint64_t now_ns) {
  unsigned long long counts[2] = {0, 0};
  pthread_mutex_lock(descriptors);
  dl_iterate_phdr(read_counts, counts);
  pthread_mutex_unlock(descriptors);
  if (counts[0] != g_objects.adds || counts[1] != g_objects.subs || g_objects.since_ns == 0) {
    g_objects.adds = counts[0];
    g_objects.subs = counts[1];
    g_objects.since_ns = now_ns;
  }
  if (g_objects.adds == g_objects.done_adds && g_objects.subs == g_objects.done_subs) return false;
  if (now_ns < g_objects.since_ns + kAtRestNs) return false;
  g_objects.done_adds = g_objects.adds;
  g_objects.done_subs = g_objects.subs;
  return true;
}

/* FNV-1a over where it is and what it is called. */
static uint64_t identity_of(const struct dl_phdr_info* info) {
  uint64_t hash = 0xcbf29ce484222325u ^ info->dlpi_addr;
  for (const char* at = info->dlpi_name; at != NULL && *at != '\0'; ++at) {
    hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
  }
  return hash;
}

static bool is_known(uint64_t identity) {
  for (size_t i = 0; i < g_objects.count; ++i) {
    if (g_objects.known[i] == identity) return true;
  }
  return false;
}

static int take_new(struct dl_phdr_info* info, size_t size, void* out) {
  (void)size;
  mg_object* object = out;
  const uint64_t identity = identity_of(info);
  if (g_objects.count == MG_OBJECTS_MAX || is_known(identity)) return 0;
  g_objects.known[g_objects.count++] = identity;
  const char* name = info->dlpi_name == NULL ? "" : info->dlpi_name;
  object->executable = *name == '\0';
  if (object->executable) name = "/proc/self/exe";
  if (*name != '/' || strlen(name) >= sizeof(object->path))
    return 0; /* the kernel's own, or not to be found */
  memcpy(object->path, name, strlen(name) + 1);
  object->base = info->dlpi_addr;
  return 1;
}

bool mg_objects_next(pthread_mutex_t* descriptors, mg_object* object) {
  pthread_mutex_lock(descriptors);
  const bool any = dl_iterate_phdr(take_new, object) != 0;
  pthread_mutex_unlock(descriptors);
  return any;
}

/* --- its file ---------------------------------------------------------------------------------------------
 */

static bool read_at(int file, void* to, size_t size, uint64_t offset) {
  return pread(file, to, size, (off_t)offset) == (ssize_t)size;
}

static bool read_header(int file, ElfW(Ehdr) * header) {
  return read_at(file, header, sizeof(*header), 0) && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
         header->e_ident[EI_CLASS] == (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32) &&
         header->e_shentsize == sizeof(ElfW(Shdr)) && header->e_phentsize == sizeof(ElfW(Phdr));
}

int mg_object_open(pthread_mutex_t* descriptors, const mg_object* object) {
  ElfW(Ehdr) header;
  pthread_mutex_lock(descriptors);
  const int file = open(object->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  pthread_mutex_unlock(descriptors);
  if (file < 0 || read_header(file, &header)) return file;
  close(file);
  return -1;
}

/* Where names end with the one that is looked for. A symbol's name may begin anywhere in such a string, since
 * linkers let names share their ends. */
typedef struct range {
  size_t name;
  uint64_t from, to; /* beginning of the string, and of the name in it */
} range;

typedef struct tables {
  ElfW(Shdr) symbols, strings;
} tables;

/* The full table of symbols, or else the one for the loader. */
static bool find_tables(int file, tables* found) {
  ElfW(Ehdr) header;
  ElfW(Shdr) section;
  if (!read_header(file, &header) || header.e_shnum > SECTIONS_MAX) return false;
  bool any = false;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    if (!read_at(file, &section, sizeof(section), header.e_shoff + i * sizeof(section))) return false;
    if (section.sh_type != SHT_SYMTAB && (section.sh_type != SHT_DYNSYM || any)) continue;
    if (section.sh_entsize != sizeof(ElfW(Sym)) || section.sh_link >= header.e_shnum) continue;
    found->symbols = section;
    if (!read_at(file, &found->strings, sizeof(section),
                 header.e_shoff + section.sh_link * sizeof(section))) {
      return false;
    }
    any = true;
    if (section.sh_type == SHT_SYMTAB) break;
  }
  return any && found->strings.sh_size <= kTableMost && found->symbols.sh_size <= kTableMost;
}

static size_t find_in(const char* bytes, size_t size, uint64_t offset, const char* const* names, size_t count,
                      range* ranges, size_t used) {
  for (size_t name = 0; name < count; ++name) {
    const size_t length = strlen(names[name]) + 1; /* with its end */
    const char* at = bytes;
    while (used < RANGES_MAX && (at = memmem(at, size - (size_t)(at - bytes), names[name], length)) != NULL) {
      const char* from = at;
      while (from > bytes && from[-1] != '\0' && at - from < MG_PREFIX_MAX) --from;
      const range one = {name, offset + (uint64_t)(from - bytes), offset + (uint64_t)(at - bytes)};
      bool twice = false; /* in the overlap of two pieces */
      for (size_t i = 0; i < used; ++i) twice |= ranges[i].name == name && ranges[i].to == one.to;
      if (!twice) ranges[used++] = one;
      at += length;
    }
  }
  return used;
}

static char g_chunk[CHUNK];

static size_t find_ranges(int file, const tables* where, const char* const* names, size_t count,
                          range ranges[RANGES_MAX]) {
  size_t used = 0;
  for (uint64_t offset = 0; offset < where->strings.sh_size; offset += CHUNK - OVERLAP) {
    const uint64_t left = where->strings.sh_size - offset;
    const size_t size = left < CHUNK ? (size_t)left : CHUNK;
    if (!read_at(file, g_chunk, size, where->strings.sh_offset + offset)) break;
    used = find_in(g_chunk, size, offset, names, count, ranges, used);
    if (left <= CHUNK) break;
  }
  return used;
}

static void take(int file, const tables* where, const ElfW(Sym) * symbol, const range* its, mg_symbol* to) {
  const size_t length = (size_t)(its->to - symbol->st_name);
  memset(to->prefix, 0, sizeof(to->prefix));
  if (length >= sizeof(to->prefix) ||
      !read_at(file, to->prefix, length, where->strings.sh_offset + symbol->st_name)) {
    memset(to->prefix, '?', sizeof(to->prefix) - 1);
  }
  to->name = its->name;
  to->value = symbol->st_value;
  to->size = symbol->st_size;
}

size_t mg_object_find(int file, const char* const* names, size_t count, mg_symbol found[MG_FOUND_MAX]) {
  range ranges[RANGES_MAX];
  tables where;
  size_t used = 0;
  if (!find_tables(file, &where)) return 0;
  const size_t ranges_used = find_ranges(file, &where, names, count, ranges);
  /* What was read is of no use to anybody who runs the program, and is charged to the cgroup. */
  posix_fadvise(file, (off_t)where.strings.sh_offset, (off_t)where.strings.sh_size, POSIX_FADV_DONTNEED);
  if (ranges_used == 0) return 0;
  const size_t most = CHUNK / sizeof(ElfW(Sym));
  for (uint64_t first = 0; first < where.symbols.sh_size / sizeof(ElfW(Sym)); first += most) {
    const uint64_t left = where.symbols.sh_size / sizeof(ElfW(Sym)) - first;
    const size_t here = left < most ? (size_t)left : most;
    if (!read_at(file, g_chunk, here * sizeof(ElfW(Sym)),
                 where.symbols.sh_offset + first * sizeof(ElfW(Sym))))
      break;
    for (size_t i = 0; i < here; ++i) {
      ElfW(Sym) symbol;
      memcpy(&symbol, g_chunk + i * sizeof(symbol), sizeof(symbol));
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_value == 0 || (symbol.st_info & 0xf) != STT_FUNC)
        continue;
      for (size_t r = 0; r < ranges_used && used < MG_FOUND_MAX; ++r) {
        if (symbol.st_name < ranges[r].from || symbol.st_name > ranges[r].to) continue;
        take(file, &where, &symbol, &ranges[r], &found[used++]);
      }
    }
  }
  posix_fadvise(file, (off_t)where.symbols.sh_offset, (off_t)where.symbols.sh_size, POSIX_FADV_DONTNEED);
  return used;
}

/* --- is the file what is loaded?
 * ----------------------------------------------------------------------------
 */

bool mg_object_keep(int file, const mg_object* object) {
  ElfW(Ehdr) header;
  if (!read_header(file, &header)) return false;
  if (object->executable) return true;
  struct link_map* const kept = dlopen(object->path, RTLD_LAZY | RTLD_NOLOAD);
  if (kept == NULL) return false;
  if (kept->l_addr == object->base) return true;
  dlclose(kept);
  return false;
}

/* A package may have been replaced since it was loaded: code is the same in memory as in its file. */
void* mg_object_function(int file, const mg_object* object, const mg_symbol* symbol) {
  ElfW(Ehdr) header;
  ElfW(Phdr) segment;
  unsigned char code[CODE];
  if (!read_header(file, &header) || symbol->size == 0) return NULL;
  const size_t size = symbol->size < CODE ? (size_t)symbol->size : CODE;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    if (!read_at(file, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment))) return NULL;
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    if (symbol->value < segment.p_vaddr || symbol->value + size > segment.p_vaddr + segment.p_filesz)
      continue;
    if (!read_at(file, code, size, segment.p_offset + (symbol->value - segment.p_vaddr))) return NULL;
    void* const loaded = (void*)(object->base + symbol->value); /* NOLINT(performance-no-int-to-ptr) */
    Dl_info info;
    if (dladdr(loaded, &info) == 0) return NULL;
    return memcmp(loaded, code, size) == 0 ? loaded : NULL;
  }
  return NULL;
}
