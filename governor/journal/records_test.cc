// What is written is what is read, for every member of every struct; and it is what journal.proto says.

#include "governor/journal/records.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "governor/journal/decode.h"
#include "governor/journal/encode.h"
#include "governor/journal/record_tables.h"
#include "governor/journal/show.h"
#include "memgov/v1/journal.pb.h"

namespace memgov::journal {
namespace {

using Rng = std::mt19937_64;

const core::Instant kNow{std::chrono::hours(5)};

// Any value at all, in every member.
template <typename T>
void Fill(Rng& random, T* value) {
  if constexpr (kIsOptional<T>) {
    value->reset();
    if (random() % 4 != 0) Fill(random, &value->emplace());
  } else if constexpr (kIsVector<T>) {
    value->resize(random() % 3);
    for (auto& item : *value) Fill(random, &item);
  } else if constexpr (kIsVariant<T>) {
    const auto pick = [&]<std::size_t... I>(std::index_sequence<I...>) {
      const std::size_t index = random() % sizeof...(I);
      ((index == I ? Fill(random, &value->template emplace<I>()) : void()), ...);
    };
    pick(std::make_index_sequence<std::variant_size_v<T>>{});
  } else if constexpr (std::is_same_v<T, std::string>) {
    value->assign(random() % 200, static_cast<char>(random()));
  } else if constexpr (std::is_same_v<T, core::Instant>) {
    *value = random() % 4 == 0 ? kNow : core::Instant(core::Duration(static_cast<std::int64_t>(random())));
  } else if constexpr (std::is_same_v<T, core::Duration>) {
    *value = core::Duration(static_cast<std::int64_t>(random()) >> random() % 64);
  } else if constexpr (Word<T>) {
    do {
      *value = static_cast<T>(random() % 20);
    } while (NameOf(*value).empty());
  } else if constexpr (std::is_same_v<T, bool>) {
    *value = random() % 2 == 0;
  } else if constexpr (std::is_same_v<T, double>) {
    *value = std::bit_cast<double>(random());
  } else if constexpr (std::is_enum_v<T>) {
    *value = static_cast<T>(random() >> random() % 64);
  } else if constexpr (std::is_arithmetic_v<T>) {
    *value = static_cast<T>(random() >> random() % 64);
  } else {
    ForEachField<T>([&](const auto& field) { Fill(random, &(value->*field.member)); });
  }
}

template <typename T>
std::string BytesOf(const T& value) {
  std::string bytes;
  Encoder(kNow, &bytes).Body(value);
  return bytes;
}

// Equality of everything, by way of the comparison that people see: it knows no wire format.
std::vector<std::string> Difference(const core::Decisions& a, const core::Decisions& b) {
  return DifferenceOf(a, b, 5);
}

TEST(Records, AnyDecisionsComeBack) {
  Rng random(1);
  for (int i = 0; i < 300; ++i) {
    core::Decisions decisions;
    Fill(random, &decisions);
    const std::string bytes = EncodeDecisions(kNow, decisions);
    const auto back = DecodeDecisions(kNow, bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(Difference(decisions, *back), std::vector<std::string>{});
    EXPECT_EQ(EncodeDecisions(kNow, *back), bytes);
  }
}

TEST(Records, AnyTickComesBack) {
  Rng random(2);
  for (int i = 0; i < 300; ++i) {
    Tick tick;
    core::Decisions decisions;
    Fill(random, &tick.snapshot);
    Fill(random, &tick.events);
    Fill(random, &decisions);
    tick.decisions = EncodeDecisions(kNow, decisions);
    std::string payload;
    EncodeTick(kNow - std::chrono::seconds(1), kNow, tick.snapshot, tick.events, decisions, &payload);
    const auto record = DecodeRecord(kNow - std::chrono::seconds(1), payload);
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->now, kNow);
    EXPECT_EQ(JsonOf(*record), JsonOf({.now = kNow, .what = tick}));
  }
}

TEST(Records, AnyKeyframeAndPolicyComesBack) {
  Rng random(3);
  for (int i = 0; i < 100; ++i) {
    Keyframe keyframe;
    Fill(random, &keyframe);
    std::string payload;
    EncodeKeyframe(kNow, keyframe, &payload);
    const auto record = DecodeRecord({}, payload);
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(JsonOf(*record), JsonOf({.now = kNow, .what = keyframe}));

    payload.clear();
    EncodePolicy(keyframe.policy, &payload);
    const auto policy = DecodeRecord(kNow, payload);
    ASSERT_TRUE(policy.ok()) << policy.status();
    EXPECT_EQ(JsonOf(*policy), JsonOf({.now = kNow, .what = keyframe.policy}));
  }
}

TEST(Records, ADefaultThatIsNotZeroComesBackAsTheZeroThatWasWritten) {
  core::Rule rule;
  rule.brake.enabled = false;
  rule.brake.at_percent = 0;
  rule.actions.clear();
  rule.cgroup.clear();
  rule.pace.ttl = {};
  std::string payload;
  EncodePolicy({.rules = {rule}, .node = {.reserve = 0}}, &payload);
  const auto record = DecodeRecord({}, payload);
  ASSERT_TRUE(record.ok()) << record.status();
  const auto& back = std::get<core::Policy>(record->what);
  EXPECT_FALSE(back.rules[0].brake.enabled);
  EXPECT_EQ(back.rules[0].brake.at_percent, 0);
  EXPECT_TRUE(back.rules[0].actions.empty());
  EXPECT_EQ(back.rules[0].cgroup, "");
  EXPECT_EQ(back.rules[0].pace.ttl, core::Duration{});
  EXPECT_EQ(back.node.reserve, 0);
}

TEST(Records, DoublesKeepEveryBit) {
  for (const std::uint64_t bits :
       {0x8000000000000000ull, 0x7FF8000000000001ull, 0xFFF4000000000123ull, 0x0000000000000001ull}) {
    core::Decisions decisions{.notes = {{.reason = {.observed = std::bit_cast<double>(bits)}}}};
    const auto back = DecodeDecisions(kNow, EncodeDecisions(kNow, decisions));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back->notes[0].reason.observed), bits);
  }
}

TEST(Records, AnInstantOfTheTickItselfComesBack) {
  std::string payload;
  EncodeTick({}, kNow, {.samples = {{.taken_at = kNow}}}, {}, {.notes = {{.at = core::Instant{}}}}, &payload);
  const auto record = DecodeRecord({}, payload);
  ASSERT_TRUE(record.ok());
  const auto& tick = std::get<Tick>(record->what);
  EXPECT_EQ(tick.snapshot.samples[0].taken_at, kNow);
  EXPECT_EQ(DecodeDecisions(kNow, tick.decisions)->notes[0].at, core::Instant{});
}

TEST(Records, ATickInWhichNothingWasDueTakesAHandfulOfBytes) {
  std::string payload;
  EncodeTick(kNow, kNow + std::chrono::milliseconds(10), {}, {},
             {.next_tick = kNow + std::chrono::milliseconds(300)}, &payload);
  std::string frame;
  AppendFrame(payload, &frame);
  EXPECT_LE(frame.size(), 20u);
}

template <typename Generated, typename T>
void ExpectGeneratedReads(const T& value) {
  const std::string bytes = BytesOf(value);
  Generated message;
  ASSERT_TRUE(message.ParseFromString(bytes));
  EXPECT_EQ(message.GetReflection()->GetUnknownFields(message).field_count(), 0);
  EXPECT_EQ(message.SerializeAsString(), bytes);
}

TEST(Records, TheSchemaReadsThemAndWritesTheSameBytes) {
  Rng random(4);
  for (int i = 0; i < 200; ++i) {
    core::Decisions decisions;
    Fill(random, &decisions);
    ExpectGeneratedReads<v1::journal::Decisions>(decisions);
    core::Snapshot snapshot;
    Fill(random, &snapshot);
    ExpectGeneratedReads<v1::journal::Snapshot>(snapshot);
    Keyframe keyframe;
    Fill(random, &keyframe);
    ExpectGeneratedReads<v1::journal::Keyframe>(keyframe);
  }
}

// The names, the numbers and the words of the tables are those of the schema.
template <typename T>
void ExpectSchema(const google::protobuf::Descriptor& schema);

template <typename T>
void ExpectField(const google::protobuf::FieldDescriptor& field) {
  if constexpr (kIsOptional<T>) {
    EXPECT_TRUE(field.has_presence()) << field.full_name();
    ExpectField<typename T::value_type>(field);
  } else if constexpr (kIsVector<T>) {
    EXPECT_TRUE(field.is_repeated()) << field.full_name();
    ExpectField<typename T::value_type>(field);
  } else if constexpr (Message<T>) {
    ASSERT_NE(field.message_type(), nullptr) << field.full_name();
    ExpectSchema<T>(*field.message_type());
  } else if constexpr (Word<T>) {
    ASSERT_NE(field.enum_type(), nullptr) << field.full_name();
    for (int i = 0; i < field.enum_type()->value_count(); ++i) {
      const std::string name = field.enum_type()->value(i)->name();
      std::string word(NameOf(static_cast<T>(i)));
      std::erase(word, '-');
      for (char& c : word) c = static_cast<char>(std::toupper(c));
      EXPECT_TRUE(!word.empty() && name.ends_with("_" + word)) << name << ", " << word;
    }
    EXPECT_EQ(NameOf(static_cast<T>(field.enum_type()->value_count())), "") << field.full_name();
  }
}

template <typename T>
void ExpectSchema(const google::protobuf::Descriptor& schema) {
  EXPECT_EQ(schema.field_count(), static_cast<int>(MembersOf<T>())) << schema.full_name();
  ForEachField<T>([&]<typename S, typename M>(const Field<S, M>& field) {
    const auto* found = schema.FindFieldByNumber(field.number);
    ASSERT_NE(found, nullptr) << schema.full_name() << "." << field.name;
    EXPECT_EQ(found->name(), field.name);
    ExpectField<M>(*found);
  });
}

TEST(Records, TheTablesSayWhatTheSchemaSays) {
  ExpectSchema<core::Decisions>(*v1::journal::Decisions::descriptor());
  ExpectSchema<core::Snapshot>(*v1::journal::Snapshot::descriptor());
  ExpectSchema<Keyframe>(*v1::journal::Keyframe::descriptor());
  ExpectSchema<SegmentHeader>(*v1::journal::SegmentHeader::descriptor());
  ExpectSchema<core::ClientOutcome>(*v1::journal::ClientOutcome::descriptor());
  ExpectSchema<core::ClientDetached>(*v1::journal::ClientDetached::descriptor());
}

TEST(Records, GarbledBytesAreRefusedWithTheirPlace) {
  std::string payload;
  EncodeTick(kNow, kNow, {.samples = {{.id = core::CgroupId{7}, .usage = 5}}}, {}, {}, &payload);
  const auto record = DecodeRecord(kNow, payload.substr(0, payload.size() - 1));
  ASSERT_FALSE(record.ok());
  EXPECT_EQ(record.status().message(), "tick: it is longer than what it lies in");

  const std::string word = {'\x3A', '\x02', '\x08', '\x63'};  // notes[0].kind = 99
  EXPECT_EQ(DecodeDecisions(kNow, word).status().message(),
            "notes.[0].kind: 99 has no name: a newer memgov wrote it");
  const std::string field = {'\x3A', '\x03', '\x98', '\x06', '\x01'};
  EXPECT_EQ(DecodeDecisions(kNow, field).status().message(),
            "notes.[0]: field 99 is not known: a newer memgov wrote it");
}

TEST(Records, AnyBytesAreReadOrRefused) {
  Rng random(5);
  for (int i = 0; i < 3000; ++i) {
    Tick tick;
    core::Decisions decisions;
    Fill(random, &tick.snapshot);
    Fill(random, &decisions);
    std::string payload;
    EncodeTick(kNow, kNow, tick.snapshot, {}, decisions, &payload);
    for (int flips = 0; flips < 3 && !payload.empty(); ++flips) {
      payload[random() % payload.size()] ^= static_cast<char>(1 << random() % 8);
    }
    if (random() % 2 == 0) payload.resize(random() % (payload.size() + 1));
    const auto record = DecodeRecord(kNow, payload);
    EXPECT_NE(record.ok() ? JsonOf(*record) : std::string(record.status().message()), "");
  }
}

}  // namespace
}  // namespace memgov::journal
