#include "governor/base/short_slices.h"

#include <linux/sched.h>
#include <linux/sched/types.h>  // not together with <sched.h>: both define sched_param
#include <sys/syscall.h>
#include <unistd.h>

namespace memgov::base {
namespace {

constexpr unsigned kSliceNs = 100'000;

}  // namespace

void AskForShortSlices() {
  sched_attr attributes{};
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.sched_policy != SCHED_NORMAL && attributes.sched_policy != SCHED_BATCH) return;
  attributes.sched_runtime = kSliceNs;
  (void)::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace memgov::base
