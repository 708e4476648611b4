// "Did you mean": the word an author probably wanted.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memgov::policy {

// How many letters must be changed, added, left out or swapped with their neighbour to make `to` of `from`.
int EditDistance(std::string_view from, std::string_view to);

// ` (did you mean "usage"?)` for the nearest of `known`, or nothing if none is near. Case does not matter.
std::string DidYouMean(std::string_view written, const std::vector<std::string>& known);

// The same for a suggestion that is already known.
std::string DidYouMean(std::string_view suggestion);

}  // namespace memgov::policy
