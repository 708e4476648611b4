// Writes a struct in protobuf's wire format, as journal.proto has it, straight from its table.
//
// Why not through generated classes: protobuf does not promise the same bytes for the same message, and equal
// bytes are what replay compares; and no tree of messages is built on the control thread. What is written is
// canonical: fields by number, once each, nothing that is zero (but for a member that is optional and there).
//
// Instants are written as the distance from a base, because nearly all of them lie close to the tick's.

#pragma once

#include <google/protobuf/io/coded_stream.h>

#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>

#include "governor/core/units.h"
#include "governor/journal/fields.h"

namespace memgov::journal {

// The wire types of protobuf that are used here.
enum class WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2 };

inline constexpr std::uint32_t TagOf(int number, WireType type) {
  return static_cast<std::uint32_t>(number) << 3 | static_cast<std::uint32_t>(type);
}

template <Scalar T>
inline constexpr WireType kWireTypeOf = std::is_same_v<T, double> ? WireType::kFixed64 : WireType::kVarint;

// Small for small numbers of either sign: protobuf's sint64.
inline constexpr std::uint64_t ZigZag(std::int64_t value) {
  return static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63);
}

// now - base without overflow, whatever they are; what the decoder undoes in the same arithmetic.
inline std::int64_t Distance(core::Instant at, core::Instant base) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(at.time_since_epoch().count()) -
                                   static_cast<std::uint64_t>(base.time_since_epoch().count()));
}

void AppendVarint(std::uint64_t value, std::string* out);

class Encoder {
 public:
  // Appends to `out`, which must outlive it.
  Encoder(core::Instant base, std::string* out) : base_(base), out_(out) {}

  // All fields of `message`, without a tag or length of its own.
  template <Message T>
  void Body(const T& message) {
    ForEachField<T>([&](const auto& field) { Put(field.number, message.*field.member); });
  }

  template <typename T>
  void Put(int number, const T& value) {
    if constexpr (kIsOptional<T>) {
      if (value) PutAlways(number, *value);
    } else if constexpr (kIsVector<T>) {
      PutAll(number, value);
    } else if constexpr (Scalar<T>) {
      if (BitsOf(value) != 0) PutAlways(number, value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (!value.empty()) PutAlways(number, value);
    } else if constexpr (kIsVariant<T>) {
      PutAlways(number, value);
    } else {
      const std::size_t before = out_->size();
      if (PutNested(number, [&] { Body(value); }) == 0) out_->resize(before);
    }
  }

  template <typename T>
  void PutAlways(int number, const T& value) {
    if constexpr (Scalar<T>) {
      AppendVarint(TagOf(number, kWireTypeOf<T>), out_);
      Append(value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      AppendVarint(TagOf(number, WireType::kBytes), out_);
      AppendVarint(value.size(), out_);
      out_->append(value);
    } else if constexpr (kIsVariant<T>) {
      PutNested(number, [&] {
        const int alternative = static_cast<int>(value.index()) + 1;
        std::visit([&](const auto& held) { PutAlways(alternative, held); }, value);
      });
    } else {
      PutNested(number, [&] { Body(value); });
    }
  }

  // What `body` writes, as one nested message. Returns its length.
  template <typename Write>
  std::size_t PutNested(int number, Write body) {
    AppendVarint(TagOf(number, WireType::kBytes), out_);
    const std::size_t at = out_->size();
    out_->push_back('\0');  // the length, which takes one byte nearly always
    body();
    const std::size_t length = out_->size() - at - 1;
    if (length < 0x80) {
      (*out_)[at] = static_cast<char>(length);
    } else {
      std::string prefix;
      AppendVarint(length, &prefix);
      out_->replace(at, 1, prefix);
    }
    return length;
  }

 private:
  template <typename T>
  void PutAll(int number, const std::vector<T>& values) {
    if (values.empty()) return;
    if constexpr (Scalar<T>) {
      PutNested(number, [&] {
        for (const T& value : values) Append(value);
      });
    } else {
      for (const T& value : values) PutAlways(number, value);
    }
  }

  template <Scalar T>
  std::uint64_t BitsOf(const T& value) const {
    if constexpr (std::is_same_v<T, core::Instant>) {
      return ZigZag(Distance(value, base_));
    } else if constexpr (std::is_same_v<T, core::Duration>) {
      return ZigZag(value.count());
    } else if constexpr (std::is_same_v<T, double>) {
      return std::bit_cast<std::uint64_t>(value);
    } else if constexpr (std::is_enum_v<T>) {
      return static_cast<std::uint64_t>(value);
    } else if constexpr (std::is_signed_v<T>) {
      return ZigZag(value);
    } else {
      return value;
    }
  }

  template <Scalar T>
  void Append(const T& value) {
    const std::uint64_t bits = BitsOf(value);
    if constexpr (kWireTypeOf<T> == WireType::kFixed64) {
      std::uint8_t bytes[sizeof bits];
      google::protobuf::io::CodedOutputStream::WriteLittleEndian64ToArray(bits, bytes);
      out_->append(reinterpret_cast<const char*>(bytes), sizeof bytes);
    } else {
      AppendVarint(bits, out_);
    }
  }

  core::Instant base_;
  std::string* out_;
};

}  // namespace memgov::journal
