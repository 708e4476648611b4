// The checks between rules, which may come from several files that are one policy: each rule has a name of
// its own and can come to its turn, and the node is described once.

#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "governor/core/policy.h"
#include "governor/policy/error_list.h"
#include "governor/policy/schema_walk.h"
#include "memgov/v1/policy.pb.h"

namespace memgov::policy {

// One file of a policy. Stays where it is once it is filled: `origins` knows its messages by address.
struct Document {
  explicit Document(std::string_view path) : name(path), errors(path) {}
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  const std::string name;  // of the file, in messages
  v1::Policy file;
  Origins origins;
  ErrorList errors;
};

class PolicyChecks {
 public:
  // Called for the documents in order, before their rules.
  void AddNode(Document& document);
  // `rule` is the translation of the document's rule number `index`. Called in order.
  void AddRule(Document& document, const core::Rule& rule, int index);

 private:
  struct Place {
    const Document* document = nullptr;
    int index = 0;
    Position at;
  };
  struct Seen {
    std::string glob;
    core::NameMatch names;
    Place place;
  };

  void CheckName(Document& document, const std::string& name, Place place);
  void CheckReachable(Document& document, const core::Rule& rule, Place place);

  const Document* with_node_ = nullptr;
  std::size_t rules_ = 0;
  std::map<std::string, Place> names_;
  std::vector<Seen> seen_;
};

// Whether every path that `later` matches is sure to be matched by `earlier` too. True only when certain: two
// different globs with `**` in the middle count as not covered.
bool Covers(std::string_view earlier, std::string_view later);
// The same for names.
bool Covers(const core::NameMatch& earlier, const core::NameMatch& later);

}  // namespace memgov::policy
