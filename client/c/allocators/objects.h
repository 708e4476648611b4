/* Functions inside the objects that the process has loaded, by the end of their names: wheels and plugins
 * bring allocators of their own, under a prefix and hidden, where neither dlsym nor a weak reference sees
 * them. Their names are in the object's file, as long as nobody has stripped it.
 *
 * What is found there is used only if the file still is the one that is loaded, and the object is then kept
 * from being unloaded. For the agent thread; nothing here mallocs but the loader. */

#ifndef MEMGOV_CLIENT_C_ALLOCATORS_OBJECTS_H_
#define MEMGOV_CLIENT_C_ALLOCATORS_OBJECTS_H_

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MG_OBJECTS_MAX = 1024, /* those beyond are not looked into */
  MG_FOUND_MAX = 16,
  MG_PREFIX_MAX = 32
};

/* One function: `name` is the one that was looked for, and behind `prefix` it has that name. */
typedef struct mg_symbol {
  size_t name;
  char prefix[MG_PREFIX_MAX];
  uint64_t value; /* as in the file */
  uint64_t size;
} mg_symbol;

typedef struct mg_object {
  char path[256];
  uintptr_t base;
  bool executable; /* the program itself */
} mg_object;

/* Whether objects were loaded or unloaded since the last call that said so; they have been at rest for a
 * second by now. `descriptors` is held against fork() while the loader's list is read. */
bool mg_objects_have_changed(pthread_mutex_t* descriptors, uint64_t now_ns);

/* An object that was not looked into yet. False: there is none. */
bool mg_objects_next(pthread_mutex_t* descriptors, mg_object* object);

/* Opens the object's file. -1: it cannot be read, or it is no file of this machine. To be closed. */
int mg_object_open(pthread_mutex_t* descriptors, const mg_object* object);

/* Finds functions whose names end with one of `names`; returns how many. */
size_t mg_object_find(int file, const char* const* names, size_t count, mg_symbol found[MG_FOUND_MAX]);

/* Makes sure that the object stays, and that the file's symbols are those that are loaded. May wait for the
 * loader. */
bool mg_object_keep(int file, const mg_object* object);

/* The function's address, if its code in memory is the file's; else NULL. Of an object that is kept. */
void* mg_object_function(int file, const mg_object* object, const mg_symbol* symbol);

#ifdef __cplusplus
}
#endif

#endif
