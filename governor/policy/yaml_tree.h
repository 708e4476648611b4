// YAML text as a small tree with places, and nothing that could hurt us on the way.
//
// yaml-cpp does the parsing; its exceptions end here. The tree is built from its events instead of its own
// nodes, for two reasons: duplicate keys and documents after the first stay visible, and the caps on depth
// and size take effect while the text is read, before a hostile file has become a hundred times its size.

#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "governor/policy/error_list.h"

namespace memgov::policy {

// Maps and lists within each other; a policy needs 5.
inline constexpr std::size_t kDeepestNesting = 32;
// Values of all kinds, with aliases written out; 256 rules with every key each are 16,000.
inline constexpr std::size_t kMostValues = 20'000;

struct YamlNode {
  struct Entry {
    const YamlNode* key = nullptr;
    const YamlNode* value = nullptr;
  };
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  Position at;
  std::string text;                    // kScalar
  std::vector<const YamlNode*> items;  // kList
  std::vector<Entry> entries;          // kMap, in the order of the file, duplicates included
  std::size_t values = 1;              // in this subtree, itself included, with aliases written out
};

// "nothing", "text", "a list" or "a map".
std::string_view KindName(YamlNode::Kind kind);

// Owns the nodes of one document. An alias is a second pointer to the anchor's node, so the nodes form a
// directed graph without cycles rather than a tree; `kMostValues` bounds any walk over it.
class YamlTree {
 public:
  YamlTree() = default;
  YamlTree(YamlTree&&) = default;
  YamlTree& operator=(YamlTree&&) = default;

  // The document; null when the text holds none.
  const YamlNode* root() const { return root_; }

 private:
  friend class TreeBuilder;
  std::deque<YamlNode> nodes_;
  const YamlNode* root_ = nullptr;
};

// Reads the only document of `text`. What is not well-formed goes to `errors` (one error, since a parser
// cannot go on after it) and leaves an empty tree: bad UTF-8, control characters, more than one document,
// tags, an anchor within itself, and all that yaml-cpp refuses.
YamlTree ReadYaml(std::string_view text, ErrorList& errors);

}  // namespace memgov::policy
