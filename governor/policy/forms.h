// The forms in which values are written: 256MiB, 85%, 250ms, 1.5, globs and names.

#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memgov/v1/options.pb.h"

namespace memgov::policy {

using Form = v1::KeyOptions::Form;

// The number that `text` stands for in the unit of `form`: bytes, percent, nanoseconds, or the number itself.
// INVALID_ARGUMENT says what is wrong with the text and how to write it, for example
// `"85" has no unit (did you mean "85%"?)`. `form` is BYTES, PERCENT, DURATION or NUMBER.
absl::StatusOr<double> ParseQuantity(Form form, std::string_view text);

// Whether `text` can be a GLOB or a NAME. INVALID_ARGUMENT says why not.
absl::Status CheckForm(Form form, std::string_view text);

}  // namespace memgov::policy
