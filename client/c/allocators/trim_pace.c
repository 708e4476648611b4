#include "client/c/allocators/trim_pace.h"

#define MS(n) ((uint64_t)(n)*1000000u)

/* One that took less hurts nobody, whatever it brought. */
static const uint64_t kCheapNs = MS(5);
/* A useful trim returns some 2 MiB in a millisecond (./dev bench release); one that spends nearly all of its
 * time on walking returns less than this. */
static const uint64_t kWorthBytesPerMs = 128u << 10;
static const uint64_t kFirstNs = MS(1000);
static const uint64_t kMostNs = MS(60000);
static const uint64_t kMostWhenCriticalNs = MS(8000);
/* What counts as a change of the heap: a part of it, and so much at least. */
static const uint64_t kChangeDivisor = 8;
static const uint64_t kChangeLeast = 16u << 20;

static uint64_t change_of(uint64_t bytes) {
  const uint64_t part = bytes / kChangeDivisor;
  return part > kChangeLeast ? part : kChangeLeast;
}

uint64_t mg_trim_wait_ns(const mg_trim_pace* pace, memgov_level level, uint64_t anon_bytes, uint64_t now_ns) {
  if (pace->pause_ns == 0) return 0;
  if (anon_bytes >= pace->anon_bytes + change_of(pace->anon_bytes)) return 0;
  uint64_t pause_ns = pace->pause_ns;
  if (level == MEMGOV_LEVEL_CRITICAL && pause_ns > kMostWhenCriticalNs) pause_ns = kMostWhenCriticalNs;
  const uint64_t until_ns = pace->at_ns + pause_ns;
  return until_ns > now_ns ? until_ns - now_ns : 0;
}

void mg_trim_done(mg_trim_pace* pace, uint64_t anon_before, uint64_t anon_after, uint64_t took_ns,
                  uint64_t now_ns) {
  const uint64_t returned = anon_before > anon_after ? anon_before - anon_after : 0;
  const bool vain = took_ns >= kCheapNs && returned < took_ns / MS(1) * kWorthBytesPerMs;
  const uint64_t twice_ns = pace->pause_ns == 0 ? kFirstNs : 2 * pace->pause_ns;
  pace->pause_ns = !vain ? 0 : twice_ns < kMostNs ? twice_ns : kMostNs;
  pace->at_ns = now_ns;
  pace->took_ns = took_ns;
  pace->returned_bytes = returned;
  pace->anon_bytes = anon_after;
  pace->live_bytes = 0;
}

void mg_trim_counted(mg_trim_pace* pace, uint64_t live_bytes) {
  if (pace->live_bytes > live_bytes && pace->live_bytes - live_bytes >= change_of(pace->live_bytes)) {
    pace->pause_ns = 0;
  }
  if (live_bytes > pace->live_bytes) pace->live_bytes = live_bytes; /* freed is what has been in use */
}
