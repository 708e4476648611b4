#include "governor/policy/policy_checks.h"

#include <fmt/format.h>

#include <optional>

#include "governor/policy/schema_values.h"

namespace memgov::policy {
namespace {

bool CoversName(const std::optional<std::string>& earlier, const std::optional<std::string>& later) {
  // The stars of `later` stand for letters, which the stars of `earlier` take too.
  return !earlier || (later && core::GlobMatches(*earlier, *later));
}

// The schema's bound for one file holds for all files together.
std::size_t MostRules() {
  const auto* field = v1::Policy::descriptor()->FindFieldByNumber(v1::Policy::kRulesFieldNumber);
  return static_cast<std::size_t>(OptionsOf(*field).most_items());
}

}  // namespace

void PolicyChecks::AddNode(Document& document) {
  const Origin* node = document.origins.Find(document.file, "node");
  if (node == nullptr) return;
  if (with_node_ == nullptr) {
    with_node_ = &document;
    return;
  }
  const Position first = with_node_->origins.Find(with_node_->file, "node")->at;
  document.errors.Add(node->at, fmt::format("node: there is one node, and {}:{}:{} describes it already",
                                            with_node_->name, first.line, first.column));
}

void PolicyChecks::AddRule(Document& document, const core::Rule& rule, int index) {
  const v1::Rule& written = document.file.rules(index);
  const Origins& origins = document.origins;
  const Origin* name = origins.Find(written, "name");
  if (name == nullptr) return;
  const Place place{.document = &document, .index = index, .at = name->at};
  if (++rules_ == MostRules() + 1) {
    document.errors.Add(name->at,
                        fmt::format("rules[{}]: more than {} rules in all files", index, MostRules()));
  }
  if (name->valid) CheckName(document, rule.name, place);
  const Origin* match = origins.Find(written, "match");
  if (match != nullptr && !match->valid) return;
  for (int i = 0; i < v1::Rule::Match::descriptor()->field_count(); ++i) {
    const std::string& key = v1::Rule::Match::descriptor()->field(i)->json_name();
    const Origin* part = origins.Find(written.match(), key);
    if (part != nullptr && !part->valid) return;
  }
  CheckReachable(document, rule, place);
}

void PolicyChecks::CheckName(Document& document, const std::string& name, Place place) {
  const auto [found, fresh] = names_.emplace(name, place);
  if (fresh) return;
  const Place& first = found->second;
  const std::string where = first.document == place.document ? fmt::format("rules[{}]", first.index)
                                                             : fmt::format("{}:{}:{}", first.document->name,
                                                                           first.at.line, first.at.column);
  document.errors.Add(
      place.at, fmt::format("rules[{}].name: {} is the name of {} too", place.index, Quoted(name), where));
}

void PolicyChecks::CheckReachable(Document& document, const core::Rule& rule, Place place) {
  const Origin* cgroup = document.origins.Find(document.file.rules(place.index).match(), "cgroup");
  for (const Seen& earlier : seen_) {
    if (!Covers(earlier.glob, rule.cgroup) || !Covers(earlier.names, rule.names)) continue;
    const Place& first = earlier.place;
    std::string where = fmt::format("rules[{}]", first.index);
    if (first.document != place.document) {
      where += fmt::format(" of {}:{}", first.document->name, first.at.line);
    }
    const std::string what =
        rule.names == core::NameMatch{} ? fmt::format("{} does", Quoted(rule.cgroup)) : "this one does";
    document.errors.Add(cgroup != nullptr ? cgroup->at : place.at,
                        fmt::format("rules[{}]: never used, because {} comes first and matches all that {}",
                                    place.index, where, what));
    return;
  }
  seen_.push_back({.glob = rule.cgroup, .names = rule.names, .place = place});
}

bool Covers(std::string_view earlier, std::string_view later) {
  constexpr std::string_view kBelow = "/**";
  if (earlier == later || earlier == "**" || earlier == "/**") return true;
  const bool whole_directory = earlier.ends_with(kBelow);
  const std::string_view directory =
      earlier.substr(0, earlier.size() - (whole_directory ? kBelow.size() : 0));
  if (whole_directory && directory.find('*') == std::string_view::npos) {
    return later == directory || later.starts_with(fmt::format("{}/", directory));
  }
  // What `later` matches is its own text with other letters for the stars. A star of `earlier` that takes a
  // star of `later` takes those letters as well, as long as no slash can be among them: so `later` without
  // `**`, or with one at the end that `earlier` has there too.
  if (whole_directory && later.ends_with(kBelow)) later.remove_suffix(kBelow.size());
  return later.find("**") == std::string_view::npos && core::GlobMatches(earlier, later);
}

bool Covers(const core::NameMatch& earlier, const core::NameMatch& later) {
  return CoversName(earlier.pod_namespace, later.pod_namespace) && CoversName(earlier.pod, later.pod) &&
         CoversName(earlier.container, later.container) && (!earlier.qos || earlier.qos == later.qos) &&
         (!earlier.runtime || earlier.runtime == later.runtime);
}

}  // namespace memgov::policy
