#include "governor/base/short_slices.h"

#include <linux/sched.h>
#include <linux/sched/types.h>  // not together with <sched.h>: both define sched_param
#include <sys/syscall.h>
#include <unistd.h>

namespace memgov::base {
namespace {

constexpr unsigned kSliceNs = 100'000;

}  // namespace

bool AskForShortSlices() {
  sched_attr attributes{};
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return false;
  if (attributes.sched_policy != SCHED_NORMAL && attributes.sched_policy != SCHED_BATCH) return false;
  attributes.sched_runtime = kSliceNs;
  return ::syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
}

}  // namespace memgov::base
