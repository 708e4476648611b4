// A thread that works seldom and briefly, and shall not wait for the end of another's slice.

#pragma once

namespace memgov::base {

// Asks the kernel (6.12 or newer) to run the calling thread in slices of 0.1 ms, its shortest. When it wakes,
// it then takes the processor from one that is in the middle of a longer slice; else it waits for the end of
// that, which comes with a tick (4 ms with CONFIG_HZ=250). It gets no more of the processor than before, and
// needs no right to this. Source: sched_setattr(2), sched_runtime of SCHED_OTHER.
//
// A thread with another policy than SCHED_OTHER and SCHED_BATCH keeps it. Where the kernel refuses, or is
// older and does nothing, the thread waits as others do.
void AskForShortSlices();

}  // namespace memgov::base
