// What the kernel and the programs' allocators were measured to do, as numbers the simulator runs on. One
// place, so that a new measurement changes one line.
//
// Measured on Linux 6.1, 6.12 (cgroup v2) and 6.18 (v1), 4 KiB pages, without swap.

#pragma once

#include <chrono>

#include "governor/core/units.h"

namespace memgov::sim {

using core::Bytes;
using core::Duration;
using core::Instant;
using core::kGiB;
using core::kMiB;

inline constexpr double kMiBf = 1024.0 * 1024.0;
inline constexpr double kGiBf = 1024.0 * kMiBf;
inline constexpr double kPage = 4096;

struct Range {
  double low = 0;  // seconds
  double high = 0;
};

// From a crossing to the wake-up of who waits for it.
inline constexpr Range kWireDelay{0.00014, 0.0031};  // v1, eventfd on memory.usage_in_bytes
inline constexpr Range kHighDelay{0.0003, 0.017};    // v2, memory.events beside memory.high
inline constexpr Range kKnobDelay{0.0005, 0.002};    // inotify, after a write to memory.high or a limit
inline constexpr Range kPressureDelay{0.117, 0.177};
// v1 looks at its thresholds every 128 charges of a CPU: two CPUs' worth.
inline constexpr double kWireGranularity = 2 * 128 * kPage;

// Braked growth above memory.high: over(t) = (N t H^2 / 85.3)^(1/3) MiB, N threads, H in MiB, t in seconds;
// so the speed at `over` is N H^2 / (256 over^2) MiB/s.
inline constexpr double kBrakeLaw = 256;
inline constexpr Range kResumeAfterRelease{0.049, 0.190};  // usage fell below memory.high
inline constexpr Range kResumeAfterRaise{0.034, 0.159};    // memory.high was raised

// Seconds of a CPU or of waiting for one GiB.
inline constexpr double kReclaimPerGiB = 0.6;    // direct reclaim of lazily freed pages, by who allocates
inline constexpr double kPageOutPerGiB = 0.23;   // process_madvise(MADV_PAGEOUT)
inline constexpr double kReleasePerGiB = 0.081;  // madvise(MADV_DONTNEED) by the owner
inline constexpr double kTouchAgainPerGiB = 0.33;
inline constexpr double kMarkPerGiB = 0.14;  // a forced collection, for each GiB of live memory
inline constexpr double kCollectFixed = 0.02;
// A collector marks a GiB of live memory in so much time of one CPU of four.
inline constexpr double kGcShareOfCpus = 0.25;
inline constexpr double kMostGcShare = 0.5;
inline constexpr double kScavengePerSecond = 4 * kMiBf;  // what Go's background scavenger returns

// A domain at its limit in which only file pages are left that its programs need: it thrashes. So little of
// the time is left for work, so much is pressure, so many pages a second come back.
inline constexpr double kStallSpeed = 0.02;
inline constexpr double kStallPressure = 0.85;
inline constexpr double kStallRefaults = 5000;
inline constexpr double kRefillPerSecond = 200 * kMiBf;  // of needed file pages, from disk

// Of a limit: from there on a domain counts as tight.
inline constexpr double kTight = 0.85;
inline constexpr auto kRestart = std::chrono::seconds(10);  // after a kill
inline constexpr auto kReportEvery = std::chrono::seconds(1);
// From the governor's decision to the client's action, and from its answer back.
inline constexpr Range kMessageDelay{0.0002, 0.002};

inline Duration Seconds(double seconds) { return Duration(static_cast<std::int64_t>(seconds * 1e9)); }
inline double SecondsOf(Duration d) { return static_cast<double>(d.count()) * 1e-9; }

}  // namespace memgov::sim
