/* Stands in for stderr in the copy of nghttp2 that is linked into libmemgov (CMakeLists.txt): its one user is
 * a debug helper that we never call, and an object that is not position independent cannot name the real one.
 */

#include <stdio.h>

extern FILE* mg_no_stderr;
FILE* mg_no_stderr;
