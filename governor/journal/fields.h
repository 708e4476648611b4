// What the members of a struct are called and numbered in the journal. One table for each struct (tables.h)
// serves everything that is done with records: writing, reading, printing and comparing them.
//
// A member that is missing from its table does not compile: the table must be as long as the struct.

#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "governor/core/units.h"

namespace memgov::journal {

// `number` and `name` are those of journal.proto; a number is never used for another member.
template <typename Struct, typename Member>
struct Field {
  int number;
  std::string_view name;
  Member Struct::*member;
};
template <typename Struct, typename Member>
Field(int, std::string_view, Member Struct::*) -> Field<Struct, Member>;

// A std::tuple of the Fields of a struct, ordered by number.
template <typename Struct>
inline constexpr std::nullptr_t kFields = nullptr;

// The alternatives of a std::variant, in its order; the first is number 1.
template <typename Variant>
inline constexpr std::nullptr_t kAlternatives = nullptr;

template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <typename T>
inline constexpr bool kIsVector = false;
template <typename T>
inline constexpr bool kIsVector<std::vector<T>> = true;
template <typename T>
inline constexpr bool kIsVariant = false;
template <typename... T>
inline constexpr bool kIsVariant<std::variant<T...>> = true;

template <typename T>
concept Message = !std::is_same_v<const std::nullptr_t, decltype(kFields<T>)>;
template <typename T>
concept Time = std::is_same_v<T, core::Instant> || std::is_same_v<T, core::Duration>;
// An enumeration whose values have names (words.h); others, such as CgroupId, are numbers.
template <typename T>
concept Word = std::is_enum_v<T> && requires(T word) {
  { NameOf(word) } -> std::same_as<std::string_view>;
};
// What fits in one protobuf scalar other than bytes.
template <typename T>
concept Scalar = std::is_arithmetic_v<T> || std::is_enum_v<T> || Time<T>;

// Converts to anything, so that the members of an aggregate can be counted. An optional is made from its
// value, because it could be made in two ways otherwise.
struct Anything {
  template <typename T>
  requires(!kIsOptional<T>) operator T() const;  // NOLINT(google-explicit-constructor): it has to
};

template <typename T, typename... Initializers>
constexpr std::size_t MembersOf() {
  if constexpr (requires { T{Initializers{}..., Anything{}}; }) {
    return MembersOf<T, Initializers..., Anything>();
  } else {
    return sizeof...(Initializers);
  }
}

template <typename T>
constexpr bool NumbersRise() {
  return std::apply(
      [](const auto&... field) {
        int last = 0;
        return (... && (field.number > std::exchange(last, field.number)));
      },
      kFields<T>);
}

// Calls `visit` with each Field of `T`.
template <Message T, typename Visit>
constexpr void ForEachField(Visit visit) {
  static_assert(std::tuple_size_v<std::remove_const_t<decltype(kFields<T>)>> == MembersOf<T>(),
                "a member of this struct is missing in governor/journal/tables.h (and journal.proto)");
  static_assert(NumbersRise<T>(), "the fields of this struct are not ordered by number");
  std::apply([&visit](const auto&... field) { (visit(field), ...); }, kFields<T>);
}

}  // namespace memgov::journal
