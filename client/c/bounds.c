#include "client/c/bounds.h"

static const uint64_t kNsPerS = 1000000000;
static const uint64_t kNsPerMs = 1000000;

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Takes `cost_ns` from an account that holds `most_ns`. */
static bool take(uint64_t* account, uint64_t cost_ns, uint64_t most_ns, uint64_t now_ns) {
  const uint64_t after = later(*account, now_ns) + cost_ns;
  if (after > now_ns + most_ns) return false;
  *account = after;
  return true;
}

bool mg_bounds_bytes(mg_bounds* bounds, size_t size, uint64_t now_ns) {
  return take(&bounds->bytes_ns, size * kNsPerS / MG_BYTES_A_SECOND,
              MG_BYTES_AT_ONCE * kNsPerS / MG_BYTES_A_SECOND, now_ns);
}

bool mg_bounds_message(mg_bounds* bounds, uint64_t now_ns) {
  return take(&bounds->messages_ns, kNsPerS / MG_MESSAGES_A_SECOND,
              MG_MESSAGES_AT_ONCE * kNsPerS / MG_MESSAGES_A_SECOND, now_ns);
}

bool mg_bounds_may_work(const mg_bounds* bounds, uint64_t now_ns) {
  return bounds->work_ns <= now_ns + MG_WORK_DIVISOR * MG_WORK_AT_ONCE_MS * kNsPerMs;
}

void mg_bounds_worked(mg_bounds* bounds, uint64_t took_ns, uint64_t now_ns) {
  const uint64_t most_ns = MG_WORK_COUNTED_MS * kNsPerMs;
  bounds->work_ns =
      later(bounds->work_ns, now_ns) + MG_WORK_DIVISOR * (took_ns < most_ns ? took_ns : most_ns);
}
