// Who has to yield when something scarce is used up: connections, descriptors, turns in a second.
//
// A count for each tenant is not enough. Whoever may create cgroups below his own makes a thousand tenants
// with one connection each, and so has a thousand shares where his neighbour has one. Therefore what is held
// is counted along the paths of cgroups, and the one who yields is looked for from the root: at each level in
// the branch that holds most. A subtree with 1,500 connections in 12 cgroups so stands against a sibling with
// one at the level where their paths part.
//
// A tenant is a cgroup's path; its levels count apart. A tenant that does not begin with '/' ("container
// /kubepods/burstable/pod1/a") is one level: nobody but root makes such tenants, so a pod is not to answer
// for what others in its branch hold.
//
// Pure. Memory goes with what is held: a tenant that holds nothing is forgotten.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>

namespace memgov::base {

class FairShare {
 public:
  using Holder = std::uint64_t;  // of one thing; the caller's own number for it

  // Of a path; what lies deeper is one with what lies there. It bounds what a hostile path can cost.
  static constexpr int kMostLevels = 16;

  FairShare() = default;
  FairShare(const FairShare&) = delete;
  FairShare& operator=(const FairShare&) = delete;

  // `holder`, which holds nothing yet, has one from now on. Among the holders of one tenant the one with the
  // least rank yields first, and of equals the last one to come.
  void Add(std::string_view tenant, Holder holder, std::int64_t rank = 0) {
    Node* node = &root_;
    for (Levels levels(tenant); levels.Next();) {
      auto child = node->children.find(levels.name());
      if (child == node->children.end()) {
        child = node->children.emplace(levels.name(), std::make_unique<Node>()).first;
        child->second->parent = node;
        child->second->name = child->first;
      }
      node = child->second.get();
    }
    const Entry entry{rank, ++last_, holder};
    node->own.insert(entry);
    places_[holder] = {node, entry};
    Count(node, 1);
  }

  // False: it held nothing.
  bool Remove(Holder holder) {
    const auto place = places_.find(holder);
    if (place == places_.end()) return false;
    Node* node = place->second.node;
    node->own.erase(place->second.entry);
    places_.erase(place);
    Count(node, -1);
    return true;
  }

  void SetRank(Holder holder, std::int64_t rank) {
    const auto place = places_.find(holder);
    if (place == places_.end()) return;
    Node* node = place->second.node;
    node->own.erase(place->second.entry);
    place->second.entry.rank = rank;
    node->own.insert(place->second.entry);
  }

  std::size_t total() const { return places_.size(); }
  bool Holds(Holder holder) const { return places_.contains(holder); }

  // What this very tenant holds.
  std::size_t CountOf(std::string_view tenant) const {
    const Node* node = Find(tenant);
    return node == nullptr ? 0 : node->own.size();
  }

  // There is no room for one more, of `tenant`: the holder that has to yield for it; absent: nobody, the
  // newcomer is to be refused.
  std::optional<Holder> WhoYields(std::string_view tenant, std::int64_t rank = 0) const {
    const Node* node = &root_;
    Levels levels(tenant);
    while (levels.Next()) {
      const auto child = node->children.find(levels.name());
      const std::size_t with_it = 1 + (child == node->children.end() ? 0 : child->second->count);
      if (node->own.size() > with_it || Most(*node) > with_it) return Largest(*node);
      if (child == node->children.end()) return std::nullopt;
      node = child->second.get();
    }
    if (Most(*node) > node->own.size() + 1) return Largest(*node);
    return LeastBelow(*node, rank);
  }

  // For what cannot be taken back, such as a turn: whether the tenant may have one more where `most` are for
  // all. Of the first half everybody may. Of the second a branch may up to the n-th part of its parent's
  // share where n branches have any: whoever comes late finds something left. Beyond `most` only a small
  // branch may, up to the n-squared part. All together so remain within a small multiple of `most` (1 + 1/4 +
  // 1/9 ... for each level at which they part), however many branches somebody makes.
  bool Fits(std::string_view tenant, std::size_t most) const {
    if (total() < most / 2) return true;
    const bool is_room = total() < most;
    const Node* node = &root_;
    double fair = static_cast<double>(most);
    double small = fair;
    const auto may = [&](std::size_t count, std::size_t branches) {
      fair /= static_cast<double>(branches);
      small /= static_cast<double>(branches * branches);
      return static_cast<double>(count) <= (is_room ? fair : small);
    };
    Levels levels(tenant);
    while (levels.Next()) {
      const auto child = node->children.find(levels.name());
      const bool is_new = child == node->children.end();
      const std::size_t branches = node->children.size() + (node->own.empty() ? 0 : 1) + (is_new ? 1 : 0);
      if (may(is_new ? 1 : child->second->count + 1, branches)) return true;
      if (is_new) return false;
      node = child->second.get();
    }
    return may(node->own.size() + 1, node->children.size() + 1);
  }

  // As WhoYields, where the tenant itself may have no more.
  std::optional<Holder> WhoYieldsOf(std::string_view tenant, std::int64_t rank = 0) const {
    const Node* node = Find(tenant);
    return node == nullptr ? std::nullopt : LeastBelow(*node, rank);
  }

 private:
  struct Entry {
    std::int64_t rank;
    std::uint64_t number;  // grows
    Holder holder;
    // The one to yield first is the first.
    bool operator<(const Entry& other) const {
      return std::tie(rank, other.number) < std::tie(other.rank, number);
    }
  };
  struct Node;
  struct ByCount {
    bool operator()(const Node* a, const Node* b) const {
      return std::tie(a->count, a->name) < std::tie(b->count, b->name);
    }
  };
  struct Node {
    Node* parent = nullptr;
    std::string_view name;  // the key in `children` of the parent
    std::size_t count = 0;  // here and below
    std::map<std::string, std::unique_ptr<Node>, std::less<>> children;
    std::set<Node*, ByCount> by_count;  // the same
    std::set<Entry> own;
  };
  struct Place {
    Node* node = nullptr;
    Entry entry{};
  };

  // Walks over the names of a path.
  class Levels {
   public:
    explicit Levels(std::string_view tenant) : rest_(tenant), whole_(!tenant.starts_with('/')) {}
    bool Next() {
      if (whole_) {
        name_ = rest_;
        rest_ = {};
        return !name_.empty();
      }
      const std::size_t begin = rest_.find_first_not_of('/');
      if (begin == std::string_view::npos || ++level_ > kMostLevels) return false;
      rest_.remove_prefix(begin);
      name_ = rest_.substr(0, rest_.find('/'));
      rest_.remove_prefix(name_.size());
      return true;
    }
    std::string_view name() const { return name_; }

   private:
    std::string_view rest_;
    std::string_view name_;
    const bool whole_;
    int level_ = 0;
  };

  static void Count(Node* node, int change) {
    while (node != nullptr) {
      Node* const parent = node->parent;
      if (parent != nullptr) parent->by_count.erase(node);
      node->count += static_cast<std::size_t>(change);
      if (parent != nullptr && node->count > 0) parent->by_count.insert(node);
      if (parent != nullptr && node->count == 0) parent->children.erase(parent->children.find(node->name));
      node = parent;
    }
  }

  const Node* Find(std::string_view tenant) const {
    const Node* node = &root_;
    for (Levels levels(tenant); levels.Next();) {
      const auto child = node->children.find(levels.name());
      if (child == node->children.end()) return nullptr;
      node = child->second.get();
    }
    return node;
  }

  // Of the largest child.
  static std::size_t Most(const Node& node) {
    return node.by_count.empty() ? 0 : (*node.by_count.rbegin())->count;
  }

  static Holder Largest(const Node& from) {
    const Node* node = &from;
    while (Most(*node) > node->own.size()) node = *node->by_count.rbegin();
    return node->own.begin()->holder;
  }

  static std::optional<Holder> LeastBelow(const Node& node, std::int64_t rank) {
    if (node.own.empty() || node.own.begin()->rank >= rank) return std::nullopt;
    return node.own.begin()->holder;
  }

  Node root_;
  std::unordered_map<Holder, Place> places_;
  std::uint64_t last_ = 0;
};

}  // namespace memgov::base
