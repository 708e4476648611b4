/* stdio, in front of the C library's: its reads wait inside the library, and its output and files are the
 * sign of life of a program that never waits at all. Only a large process is attached here. */

#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>

#include "client/c/preload/preload.h"

/* Macros of <stdio.h>, and what it does not declare. */
#undef fread_unlocked
#undef fgets_unlocked
int _IO_getc(FILE* file);
int __isoc99_vfscanf(FILE* file, const char* format, va_list list);
int __isoc23_vfscanf(FILE* file, const char* format, va_list list);

/* getc() is called for each byte, and a wait is only where the buffer is empty. Not before the constructor
 * has made sure that this is glibc, whose FILE it is. */
static int by_buffer(const FILE* file) {
  const bool waits = atomic_load_explicit(&mg_preload_due_ns, memory_order_relaxed) != 0 &&
                     file->_IO_read_ptr >= file->_IO_read_end;
  return waits ? MG_IF_LARGE | MG_IN_HANDLERS : MG_NOWHERE;
}

/* clang-format off */
FRONT(by_buffer(file), getc, int, (FILE* file), (file))
FRONT(by_buffer(file), _IO_getc, int, (FILE* file), (file))
FRONT(by_buffer(file), fgetc, int, (FILE* file), (file))
FRONT(by_buffer(stdin), getchar, int, (void), ())
FRONT(by_buffer(file), __uflow, int, (FILE* file), (file))
FRONT(by_buffer(file), fgets, char*, (char* line, int size, FILE* file), (line, size, file))
FRONT(by_buffer(file), fgets_unlocked, char*, (char* line, int size, FILE* file), (line, size, file))
FRONT(by_buffer(file), __fgets_chk, char*, (char* line, size_t room, int size, FILE* file),
      (line, room, size, file))
FRONT(by_buffer(file), fread, size_t, (void* to, size_t size, size_t count, FILE* file), (to, size, count, file))
FRONT(by_buffer(file), fread_unlocked, size_t, (void* to, size_t size, size_t count, FILE* file),
      (to, size, count, file))
FRONT(by_buffer(file), __fread_chk, size_t, (void* to, size_t room, size_t size, size_t count, FILE* file),
      (to, room, size, count, file))
FRONT(by_buffer(file), getline, ssize_t, (char** line, size_t* size, FILE* file), (line, size, file))
FRONT(by_buffer(file), getdelim, ssize_t, (char** line, size_t* size, int end, FILE* file),
      (line, size, end, file))
FRONT(by_buffer(file), __getdelim, ssize_t, (char** line, size_t* size, int end, FILE* file),
      (line, size, end, file))

#define AT_WORK (MG_IF_LARGE | MG_NO_WAIT | MG_IN_HANDLERS)
FRONT(AT_WORK, puts, int, (const char* text), (text))
FRONT(AT_WORK, fputs, int, (const char* text, FILE* file), (text, file))
FRONT(AT_WORK, fwrite, size_t, (const void* from, size_t size, size_t count, FILE* file),
      (from, size, count, file))
FRONT(AT_WORK, fflush, int, (FILE* file), (file))
FRONT(AT_WORK, fopen, FILE*, (const char* path, const char* mode), (path, mode))
FRONT(AT_WORK, fopen64, FILE*, (const char* path, const char* mode), (path, mode))
FRONT(AT_WORK, vprintf, int, (const char* format, va_list arguments), (format, arguments))
FRONT(AT_WORK, vfprintf, int, (FILE* file, const char* format, va_list arguments), (file, format, arguments))
FRONT(AT_WORK, __vprintf_chk, int, (int flag, const char* format, va_list arguments), (flag, format, arguments))
FRONT(AT_WORK, __vfprintf_chk, int, (FILE* file, int flag, const char* format, va_list arguments),
      (file, flag, format, arguments))

/* Variadic functions go on to their kin with a list. */
#define LISTED(name, parameters, last, call) \
  MEMGOV_EXPORT int name parameters {        \
    va_list list;                            \
    va_start(list, last);                    \
    const int result = call;                 \
    va_end(list);                            \
    return result;                           \
  }
LISTED(printf, (const char* format, ...), format, vprintf(format, list))
LISTED(fprintf, (FILE* file, const char* format, ...), format, vfprintf(file, format, list))
LISTED(__printf_chk, (int flag, const char* format, ...), format, __vprintf_chk(flag, format, list))
LISTED(__fprintf_chk, (FILE* file, int flag, const char* format, ...), format,
       __vfprintf_chk(file, flag, format, list))

/* scanf() of C89, C99 and C23: newer versions of glibc have all of them. */
FRONT(by_buffer(file), __isoc99_vfscanf, int, (FILE* file, const char* format, va_list list), (file, format, list))
FRONT(by_buffer(file), __isoc23_vfscanf, int, (FILE * file, const char* format, va_list list), (file, format, list))
LISTED(__isoc99_scanf, (const char* format, ...), format, __isoc99_vfscanf(stdin, format, list))
LISTED(__isoc99_fscanf, (FILE * file, const char* format, ...), format, __isoc99_vfscanf(file, format, list))
LISTED(__isoc23_scanf, (const char* format, ...), format, __isoc23_vfscanf(stdin, format, list))
LISTED(__isoc23_fscanf, (FILE * file, const char* format, ...), format, __isoc23_vfscanf(file, format, list))
/* clang-format on */
