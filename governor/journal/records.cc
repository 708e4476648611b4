#include "governor/journal/records.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "governor/journal/decode.h"
#include "governor/journal/encode.h"
#include "governor/journal/record_tables.h"

namespace memgov::journal {
namespace {

void PutPassed(core::Instant previous, core::Instant now, Encoder* encoder) {
  encoder->Put(kPassed, Distance(now, previous));
}

bool GetTick(Decoder* in, Tick* tick) {
  while (const std::uint32_t tag = in->NextTag()) {
    bool ok = false;
    switch (tag >> 3) {
      case kSnapshot:
        ok = in->Get(tag, &tick->snapshot) || in->In("snapshot");
        break;
      case kEvents:
        ok = in->Get(tag, &tick->events) || in->In("events");
        break;
      case kDecisions:
        ok = in->Get(tag, &tick->decisions) || in->In("decisions");
        break;
      default:
        in->UnknownField(tag);
    }
    if (!ok) return false;
  }
  return in->AtEnd();
}

absl::Status ErrorOf(const Decoder& decoder) { return absl::InvalidArgumentError(decoder.error()); }

}  // namespace

void AppendVarint(std::uint64_t value, std::string* out) {
  std::uint8_t bytes[10];
  const std::uint8_t* end = google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(value, bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(end - bytes));
}

std::string_view NameOf(Beginning beginning) {
  switch (beginning) {
    case Beginning::kStart:
      return "start";
    case Beginning::kNextSegment:
      return "next_segment";
    case Beginning::kGap:
      return "gap";
  }
  return "";
}

void EncodeKeyframe(core::Instant now, const Keyframe& keyframe, std::string* out) {
  Encoder encoder(now, out);
  PutPassed(core::Instant{}, now, &encoder);
  encoder.PutAlways(kKeyframe, keyframe);
}

void EncodeTick(core::Instant previous, core::Instant now, const core::Snapshot& snapshot,
                std::span<const core::ClientEvent> events, const core::Decisions& decisions,
                std::string* out) {
  Encoder encoder(now, out);
  PutPassed(previous, now, &encoder);
  encoder.PutNested(kTick, [&] {
    encoder.Put(kSnapshot, snapshot);
    for (const core::ClientEvent& event : events) encoder.PutAlways(kEvents, event);
    encoder.Put(kDecisions, decisions);
  });
}

void EncodePolicy(const core::Policy& policy, std::string* out) {
  Encoder(core::Instant{}, out).PutAlways(kPolicy, policy);
}

void EncodeKernelLevers(core::KernelLevers levers, std::string* out) {
  Encoder(core::Instant{}, out).PutAlways(kKernelLevers, levers);
}

std::string EncodeDecisions(core::Instant now, const core::Decisions& decisions) {
  std::string bytes;
  Encoder(now, &bytes).Body(decisions);
  return bytes;
}

absl::StatusOr<core::Decisions> DecodeDecisions(core::Instant now, std::string_view bytes) {
  Decoder decoder(bytes, now);
  core::Decisions decisions;
  if (!decoder.Body(&decisions)) return ErrorOf(decoder);
  return decisions;
}

absl::StatusOr<Record> DecodeRecord(core::Instant previous, std::string_view payload) {
  Decoder in(payload, previous);
  Record record{.now = previous, .what = core::KernelLevers{}};
  std::uint32_t tag = in.NextTag();
  if (tag == TagOf(kPassed, WireType::kVarint)) {
    std::int64_t passed = 0;
    if (!in.Get(tag, &passed)) return ErrorOf(in);
    record.now = After(previous, passed);
    in.SetBase(record.now);
    tag = in.NextTag();
  }
  bool ok = false;
  switch (tag >> 3) {
    case kKeyframe:
      ok = in.Get(tag, &record.what.emplace<Keyframe>()) || in.In("keyframe");
      break;
    case kTick:
      ok = in.Nested(tag, [&] { return GetTick(&in, &record.what.emplace<Tick>()); }) || in.In("tick");
      break;
    case kPolicy:
      ok = in.Get(tag, &record.what.emplace<core::Policy>()) || in.In("policy");
      break;
    case kKernelLevers:
      ok = in.Get(tag, &record.what.emplace<core::KernelLevers>()) || in.In("kernel_levers");
      break;
    case 0:
      return absl::InvalidArgumentError("a record that says nothing");
    default:
      in.UnknownField(tag);
  }
  if (!ok || in.NextTag() != 0 || !in.AtEnd()) {
    in.Fail("it is followed by something else");
    return ErrorOf(in);
  }
  return record;
}

std::size_t CountOf(const core::Decisions& decisions) {
  return decisions.directives.size() + decisions.reclaims.size() + decisions.wires.size() +
         decisions.pressure_alarms.size() + decisions.freezes.size() + decisions.cadences.size() +
         decisions.notes.size();
}

}  // namespace memgov::journal
