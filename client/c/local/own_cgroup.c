#include "client/c/local/own_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t kUnlimitedV1 = 1ull << 60; /* v1 shows "no limit" as 2^63 less a page */

/* --- files ------------------------------------------------------------------------------------------------
 */

int mg_cgroup_open(const char* directory, const char* name) {
  char path[MG_DIRECTORY_MAX + 32];
  const int length = snprintf(path, sizeof(path), "%s/%s", directory, name);
  if (length < 0 || (size_t)length >= sizeof(path)) return -1;
  return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool mg_cgroup_read(int file, uint64_t* value) {
  char text[32];
  const ssize_t got = pread(file, text, sizeof(text) - 1, 0);
  if (got <= 0) return false;
  text[got] = '\0';
  if (strncmp(text, "max", 3) == 0) {
    *value = UINT64_MAX;
    return true;
  }
  if (!is_digit(text[0])) return false;
  *value = strtoull(text, NULL, 10);
  if (*value >= kUnlimitedV1) *value = UINT64_MAX;
  return true;
}

bool mg_cgroup_read_field(int file, const char* field, uint64_t* value) {
  char text[8192];
  const ssize_t got = pread(file, text, sizeof(text) - 1, 0);
  if (got <= 0) return false;
  text[got] = '\0';
  const size_t length = strlen(field);
  for (const char* line = text; line != NULL; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, field, length) != 0 || line[length] != ' ') continue;
    *value = strtoull(line + length + 1, NULL, 10);
    return true;
  }
  return false;
}

/* Reads a file line by line without stdio, which mallocs. */
typedef struct lines {
  int file;
  size_t size;
  size_t at;
  char text[4096];
} lines;

/* NULL at the end. A line that does not fit comes in pieces, whose later ones look like nothing we know. */
static char* next_line(lines* from) {
  for (;;) {
    char* const begin = from->text + from->at;
    char* const end = memchr(begin, '\n', from->size - from->at);
    if (end != NULL) {
      *end = '\0';
      from->at = (size_t)(end - from->text) + 1;
      return begin;
    }
    memmove(from->text, begin, from->size - from->at);
    from->size -= from->at;
    from->at = 0;
    if (from->size == sizeof(from->text) - 1) from->size = 0;
    const ssize_t got = read(from->file, from->text + from->size, sizeof(from->text) - 1 - from->size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return NULL;
    from->size += (size_t)got;
  }
}

/* --- where it is ------------------------------------------------------------------------------------------
 */

/* A mounted hierarchy: which directory of it (`root`) is seen where (`point`). */
typedef struct mount {
  char root[MG_DIRECTORY_MAX];
  char point[MG_DIRECTORY_MAX];
} mount;

typedef struct mounts {
  mount memory_v1;
  mount unified;
} mounts;

/* Of what fits. */
static void copy(char to[MG_DIRECTORY_MAX], const char* from) { memcpy(to, from, strlen(from) + 1); }

/* Cuts the next word off; NULL when there is none. */
static char* take_word(char** at) {
  char* const word = *at;
  if (word == NULL || *word == '\0') return NULL;
  char* const space = strchr(word, ' ');
  *at = space == NULL ? NULL : space + 1;
  if (space != NULL) *space = '\0';
  return word;
}

/* The kernel writes a space as \040. False: too long. */
static bool unescape(const char* from, char to[MG_DIRECTORY_MAX]) {
  size_t used = 0;
  for (; *from != '\0'; ++from) {
    if (used == MG_DIRECTORY_MAX - 1) return false;
    if (from[0] == '\\' && is_digit(from[1]) && is_digit(from[2]) && is_digit(from[3])) {
      to[used++] = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
      from += 3;
    } else {
      to[used++] = *from;
    }
  }
  to[used] = '\0';
  return true;
}

static bool has_option(const char* options, const char* name) {
  const size_t length = strlen(name);
  for (const char* at = options; at != NULL; at = strchr(at, ',')) {
    if (*at == ',') ++at;
    if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
  }
  return false;
}

/* "id parent major:minor root point options [more] - type source options" */
static void take_mount(char* line, mounts* found) {
  char* tail = strstr(line, " - ");
  if (tail == NULL) return;
  *tail = '\0';
  tail += 3;
  const char* const type = take_word(&tail);
  take_word(&tail);
  const char* const options = take_word(&tail);
  if (type == NULL || options == NULL) return;
  mount* const wanted = strcmp(type, "cgroup2") == 0                                   ? &found->unified
                        : strcmp(type, "cgroup") == 0 && has_option(options, "memory") ? &found->memory_v1
                                                                                       : NULL;
  if (wanted == NULL || wanted->point[0] != '\0') return;
  take_word(&line);
  take_word(&line);
  take_word(&line);
  const char* const root = take_word(&line);
  const char* const point = take_word(&line);
  if (root == NULL || point == NULL || !unescape(root, wanted->root) || !unescape(point, wanted->point)) {
    wanted->point[0] = '\0';
  }
}

static void read_mounts(const char* proc, mounts* found) {
  lines from = {.file = mg_cgroup_open(proc, "mountinfo")};
  if (from.file < 0) return;
  for (char* line = next_line(&from); line != NULL; line = next_line(&from)) take_mount(line, found);
  close(from.file);
}

typedef struct paths {
  char memory_v1[MG_DIRECTORY_MAX];
  char unified[MG_DIRECTORY_MAX];
} paths;

/* "4:memory:/path", "0::/path" */
static void read_paths(const char* proc, paths* found) {
  lines from = {.file = mg_cgroup_open(proc, "cgroup")};
  if (from.file < 0) return;
  for (char* line = next_line(&from); line != NULL; line = next_line(&from)) {
    char* const controllers = strchr(line, ':');
    char* const path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (path == NULL || strlen(path + 1) >= MG_DIRECTORY_MAX) continue;
    *path = '\0';
    if (path == controllers + 1) copy(found->unified, path + 1);
    if (has_option(controllers + 1, "memory")) copy(found->memory_v1, path + 1);
  }
  close(from.file);
}

/* The directory of the cgroup `path` below a mount. What lies outside of the mount (a container that sees the
 * host's paths, or a namespace that begins below) is seen at its top. False: too long. */
static bool locate(const mount* at, const char* path, char directory[MG_DIRECTORY_MAX]) {
  const char* rest = "";
  const size_t root = strcmp(at->root, "/") == 0 ? 0 : strlen(at->root);
  if (strncmp(path, "/..", 3) != 0 && strncmp(path, at->root, root) == 0 &&
      (path[root] == '/' || path[root] == '\0')) {
    rest = path + root;
  }
  const int length =
      snprintf(directory, MG_DIRECTORY_MAX, "%s%s", at->point, strcmp(rest, "/") == 0 ? "" : rest);
  if (length < 0 || length >= MG_DIRECTORY_MAX) return false;
  if (access(directory, X_OK) != 0) copy(directory, at->point);
  return true;
}

static bool has_limit(const char* directory, int version) {
  static const char* const names[][2] = {{"memory.limit_in_bytes", NULL}, {"memory.max", "memory.high"}};
  for (size_t i = 0; i < 2 && names[version - 1][i] != NULL; ++i) {
    uint64_t limit = UINT64_MAX;
    const int file = mg_cgroup_open(directory, names[version - 1][i]);
    if (file < 0) continue;
    const bool read = mg_cgroup_read(file, &limit);
    close(file);
    if (read && limit != UINT64_MAX) return true;
  }
  return false;
}

/* From `directory` up to the mount point. */
static void find_levels(mg_own_cgroup* own, const mount* at, char directory[MG_DIRECTORY_MAX]) {
  const size_t top = strlen(at->point);
  for (;;) {
    if (own->levels < MG_LEVELS_MAX && has_limit(directory, own->version)) {
      copy(own->level[own->levels++], directory);
    }
    char* const slash = strrchr(directory, '/');
    if (slash == NULL || (size_t)(slash - directory) < top) return;
    *slash = '\0';
  }
}

bool mg_own_cgroup_same(const mg_own_cgroup* a, const mg_own_cgroup* b) {
  bool same = a->version == b->version && a->levels == b->levels && strcmp(a->pressure, b->pressure) == 0;
  for (size_t i = 0; same && i < a->levels; ++i) same = strcmp(a->level[i], b->level[i]) == 0;
  return same;
}

void mg_own_cgroup_find(mg_own_cgroup* own, const char* proc) {
  static mounts at; /* large, and this is the agent's thread alone */
  static paths path;
  char directory[MG_DIRECTORY_MAX];
  memset(&at, 0, sizeof(at));
  memset(&path, 0, sizeof(path));
  memset(own, 0, sizeof(*own));
  read_mounts(proc, &at);
  read_paths(proc, &path);
  if (at.memory_v1.point[0] != '\0' && path.memory_v1[0] != '\0') {
    own->version = 1;
    if (locate(&at.memory_v1, path.memory_v1, directory)) find_levels(own, &at.memory_v1, directory);
  }
  if (at.unified.point[0] == '\0' || path.unified[0] == '\0') return;
  if (!locate(&at.unified, path.unified, directory)) return;
  const int length = snprintf(own->pressure, sizeof(own->pressure), "%s/memory.pressure", directory);
  if (length < 0 || (size_t)length >= sizeof(own->pressure) || access(own->pressure, R_OK) != 0) {
    own->pressure[0] = '\0';
  }
  if (own->version == 0) {
    own->version = 2;
    find_levels(own, &at.unified, directory);
  }
}
