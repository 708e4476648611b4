#include "client/c/local/pace.h"

#include "client/c/process.h"

#define MS(n) ((uint64_t)(n)*MG_NS_PER_MS)

static const uint64_t kGave = 1u << 20;    /* less than this is nothing: the process itself moves so much */
static const uint64_t kPlenty = 16u << 20; /* retained bytes that end a long pause */
static const uint64_t kReleaseAgainNs = MS(50); /* after one that gave */
static const uint64_t kShedAgainNs = MS(100);   /* what the hooks freed is released with them, and counted */
static const uint64_t kDryFirstNs = MS(1000);   /* after one that gave nothing; doubles */
static const uint64_t kDryMostNs = MS(60000);
static const uint64_t kStallsForNs = MS(2000); /* stalls must last so long before a cache is asked */

static bool is_dry(const mg_rung* rung) { return rung->pause_ns >= kDryFirstNs; }

static bool is_ready(const mg_rung* rung, uint64_t longest_ns, uint64_t now_ns) {
  const uint64_t pause_ns = rung->pause_ns < longest_ns ? rung->pause_ns : longest_ns;
  return now_ns >= rung->tried_ns + pause_ns;
}

static bool may_release(const mg_pace* pace, const mg_means* means, uint64_t now_ns) {
  if (!means->release || (means->told && means->retained_bytes < kGave)) return false;
  const bool plenty = means->told && means->retained_bytes >= kPlenty;
  return is_ready(&pace->release, plenty ? kDryFirstNs : kDryMostNs, now_ns);
}

/* Whether memory keeps short: nothing more is to be had for free. */
static bool keeps_short(const mg_pace* pace, bool told_bytes, const mg_means* means, uint64_t now_ns) {
  if (!told_bytes && now_ns < pace->pressed_since_ns + kStallsForNs) return false;
  return !means->release || (means->told && means->retained_bytes < kGave) || is_dry(&pace->release);
}

mg_step mg_pace_next(mg_pace* pace, memgov_level level, bool told_bytes, const mg_means* means,
                     uint64_t now_ns) {
  if (level == MEMGOV_LEVEL_CALM) {
    pace->pressed_since_ns = 0;
    return MG_STEP_NONE;
  }
  if (pace->pressed_since_ns == 0) pace->pressed_since_ns = now_ns;
  if (means->eager && now_ns + MS(MG_LOCAL_TTL_MS) / 2 >= pace->eager_until_ns) return MG_STEP_EAGER;
  if (may_release(pace, means, now_ns)) return MG_STEP_RELEASE;
  if (means->shed && keeps_short(pace, told_bytes, means, now_ns) &&
      is_ready(&pace->shed, kDryMostNs, now_ns)) {
    return MG_STEP_SHED;
  }
  return MG_STEP_NONE;
}

void mg_pace_done(mg_pace* pace, mg_step step, uint64_t given, uint64_t now_ns) {
  if (step == MG_STEP_EAGER) pace->eager_until_ns = now_ns + MS(MG_LOCAL_TTL_MS);
  if (step != MG_STEP_RELEASE && step != MG_STEP_SHED) return;
  mg_rung* const rung = step == MG_STEP_RELEASE ? &pace->release : &pace->shed;
  rung->tried_ns = now_ns;
  if (given >= kGave) {
    rung->pause_ns = step == MG_STEP_RELEASE ? kReleaseAgainNs : kShedAgainNs;
  } else {
    const uint64_t twice_ns = 2 * rung->pause_ns;
    rung->pause_ns = twice_ns < kDryFirstNs ? kDryFirstNs : twice_ns < kDryMostNs ? twice_ns : kDryMostNs;
  }
}
