// Reads what Encoder wrote, or says where it is not that. Nothing in the bytes is trusted: numbers are
// checked for their range, words for having a name, lengths for what is there.

#pragma once

#include <google/protobuf/io/coded_stream.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "governor/core/units.h"
#include "governor/journal/encode.h"
#include "governor/journal/fields.h"

namespace memgov::journal {

inline constexpr std::int64_t UnZigZag(std::uint64_t bits) {
  return static_cast<std::int64_t>(bits >> 1 ^ (~(bits & 1) + 1));
}

// base + distance; undoes Distance.
inline core::Instant After(core::Instant base, std::int64_t distance) {
  return core::Instant(core::Duration(static_cast<std::int64_t>(
      static_cast<std::uint64_t>(base.time_since_epoch().count()) + static_cast<std::uint64_t>(distance))));
}

// Sets every member to what an absent field stands for, which is not always the default of the struct.
template <typename T>
void Clear(core::Instant base, T* value) {
  if constexpr (Message<T>) {
    ForEachField<T>([&](const auto& field) { Clear(base, &(value->*field.member)); });
  } else if constexpr (std::is_same_v<T, core::Instant>) {
    *value = base;
  } else {
    *value = T{};
  }
}

class Decoder {
 public:
  // `bytes` must outlive it.
  Decoder(std::string_view bytes, core::Instant base)
      : base_(base),
        in_(reinterpret_cast<const std::uint8_t*>(bytes.data()), static_cast<int>(bytes.size())) {
    in_.SetTotalBytesLimit(std::numeric_limits<int>::max());
  }

  // False: error() says what is wrong and where.
  template <Message T>
  bool Body(T* message) {
    Clear(base_, message);
    while (const std::uint32_t tag = in_.ReadTag()) {
      bool known = false;
      bool ok = true;
      ForEachField<T>([&](const auto& field) {
        if (field.number != static_cast<int>(tag >> 3)) return;
        known = true;
        ok = Get(tag, &(message->*field.member)) || In(field.name);
      });
      if (!known) return UnknownField(tag);
      if (!ok) return false;
    }
    return AtEnd();
  }

  // One field, of which the tag has been read.
  template <typename T>
  bool Get(std::uint32_t tag, T* value) {
    if constexpr (kIsOptional<T>) {
      return Get(tag, &value->emplace());
    } else if constexpr (kIsVector<T>) {
      return GetMore(tag, value);
    } else if constexpr (Scalar<T>) {
      return HasType(tag, kWireTypeOf<T>) && Read(value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      return GetString(tag, value);
    } else if constexpr (kIsVariant<T>) {
      return Nested(tag, [&] { return GetAlternative(value); });
    } else {
      return Nested(tag, [&] { return Body(value); });
    }
  }

  // The same for a nested message, which `parse` reads to its end.
  template <typename Parse>
  bool Nested(std::uint32_t tag, Parse parse) {
    std::uint32_t length = 0;
    if (!HasType(tag, WireType::kBytes) || !ReadLength(&length)) return false;
    const auto limit = in_.PushLimit(static_cast<int>(length));
    if (!parse()) return false;
    in_.PopLimit(limit);
    return true;
  }

  void SetBase(core::Instant base) { base_ = base; }

  // The next tag; 0 at the end, or when there is none that is valid.
  std::uint32_t NextTag() { return in_.ReadTag(); }
  bool AtEnd() { return in_.ConsumedEntireMessage() || Fail("it is cut off or garbled"); }
  bool UnknownField(std::uint32_t tag) {
    return Fail("field " + std::to_string(tag >> 3) + " is not known: a newer memgov wrote it");
  }
  bool Fail(std::string what) {
    if (what_.empty()) what_ = std::move(what);
    return false;
  }
  // Adds the name of what the error lies in. Always false.
  bool In(std::string_view name) {
    where_.insert(0, where_.empty() ? std::string(name) : std::string(name) + ".");
    return false;
  }
  std::string error() const { return where_.empty() ? what_ : where_ + ": " + what_; }

 private:
  bool HasType(std::uint32_t tag, WireType type) {
    return (tag & 7) == static_cast<std::uint32_t>(type) || Fail("it is of another type");
  }

  template <typename T>
  bool GetMore(std::uint32_t tag, std::vector<T>* values) {
    if constexpr (Scalar<T>) {
      return Nested(tag, [&] {
        while (in_.BytesUntilLimit() > 0) {
          if (!Read(&values->emplace_back())) return false;
        }
        return true;
      });
    } else {
      return Get(tag, &values->emplace_back()) || In("[" + std::to_string(values->size() - 1) + "]");
    }
  }

  template <typename T>
  bool GetAlternative(T* value) {
    const std::uint32_t tag = in_.ReadTag();
    if (tag == 0) return Fail("it is none of its alternatives");
    return GetAlternative(tag, value, std::make_index_sequence<std::variant_size_v<T>>{}) && AtLast();
  }
  template <typename T, std::size_t... I>
  bool GetAlternative(std::uint32_t tag, T* value, std::index_sequence<I...>) {
    const std::size_t index = (tag >> 3) - 1;
    if (index >= sizeof...(I)) return UnknownField(tag);
    bool ok = false;
    ((index == I ? void(ok = Get(tag, &value->template emplace<I>()) || In(kAlternatives<T>[I])) : void()),
     ...);
    return ok;
  }
  bool AtLast() { return in_.ReadTag() == 0 ? AtEnd() : Fail("it is more than one of its alternatives"); }

  bool ReadLength(std::uint32_t* length) {
    if (!in_.ReadVarint32(length)) return Fail("it is cut off");
    return *length <= static_cast<std::uint32_t>(Left()) || Fail("it is longer than what it lies in");
  }
  int Left() {
    const void* data = nullptr;
    int size = 0;
    if (!in_.GetDirectBufferPointer(&data, &size)) size = 0;
    return size;
  }
  bool GetString(std::uint32_t tag, std::string* value) {
    std::uint32_t length = 0;
    if (!HasType(tag, WireType::kBytes) || !ReadLength(&length)) return false;
    return in_.ReadString(value, static_cast<int>(length)) || Fail("it is cut off");
  }

  template <Scalar T>
  bool Read(T* value) {
    std::uint64_t bits = 0;
    if constexpr (kWireTypeOf<T> == WireType::kFixed64) {
      if (!in_.ReadLittleEndian64(&bits)) return Fail("it is cut off");
      *value = std::bit_cast<double>(bits);
    } else {
      if (!in_.ReadVarint64(&bits)) return Fail("it is cut off");
      return FromBits(bits, value);
    }
    return true;
  }

  template <Scalar T>
  bool FromBits(std::uint64_t bits, T* value) {
    if constexpr (std::is_same_v<T, core::Instant>) {
      *value = After(base_, UnZigZag(bits));
    } else if constexpr (std::is_same_v<T, core::Duration>) {
      *value = core::Duration(UnZigZag(bits));
    } else if constexpr (Word<T>) {
      *value = static_cast<T>(bits);
      return (bits <= std::numeric_limits<int>::max() && !NameOf(*value).empty()) ||
             Fail(std::to_string(bits) + " has no name: a newer memgov wrote it");
    } else if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> number{};
      if (!FromBits(bits, &number)) return false;
      *value = static_cast<T>(number);
    } else if constexpr (std::is_signed_v<T>) {
      const std::int64_t number = UnZigZag(bits);
      *value = static_cast<T>(number);
      return *value == number || Fail(std::to_string(number) + " is out of range");
    } else {
      *value = static_cast<T>(bits);
      return static_cast<std::uint64_t>(*value) == bits || Fail(std::to_string(bits) + " is out of range");
    }
    return true;
  }

  core::Instant base_;
  google::protobuf::io::CodedInputStream in_;
  std::string what_;
  std::string where_;
};

}  // namespace memgov::journal
