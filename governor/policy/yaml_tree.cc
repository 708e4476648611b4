#include "governor/policy/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <boost/locale/utf.hpp>
#include <exception>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/escaping.h"

namespace memgov::policy {
namespace {

// Thrown by TreeBuilder through yaml-cpp to ReadYaml, and no further: its parser has no other way to stop.
struct Refused {
  Position at;
  std::string message;
};

Position PositionOf(const YAML::Mark& mark) {
  return {std::max(mark.line, 0) + 1, std::max(mark.column, 0) + 1};
}

// Whether YAML allows this character unescaped and a text editor would show it.
bool Printable(boost::locale::utf::code_point c) {
  return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c != 0x7F && (c < 0x80 || c > 0x9F));
}

// False, with an error, when `text` is not plain UTF-8 text. yaml-cpp would guess at other encodings.
bool CheckText(std::string_view text, ErrorList& errors) {
  using Utf8 = boost::locale::utf::utf_traits<char>;
  Position at;
  for (const char *c = text.data(), *end = c + text.size(); c != end;) {
    const char* start = c;
    const auto point = Utf8::decode(c, end);
    if (!boost::locale::utf::is_valid_codepoint(point)) {
      errors.Add(at, fmt::format("byte 0x{:02x} is not UTF-8; a policy is UTF-8 text",
                                 static_cast<unsigned char>(*start)));
      return false;
    }
    if (!Printable(point)) {
      errors.Add(at, fmt::format("control character U+{:04X}; a policy is plain text", point));
      return false;
    }
    if (point == '\n') {
      at = {at.line + 1, 1};
    } else {
      at.column += static_cast<int>(c - start);
    }
  }
  return true;
}

}  // namespace

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(YamlTree& tree) : tree_(tree) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) throw Refused{PositionOf(mark), "a second document; a file holds one policy"};
    started_ = true;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Attach(New(YamlNode::Kind::kNull, mark, "", anchor));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{PositionOf(mark), "an alias of nothing"};
    for (const Open& open : open_) {
      if (open.node == found->second) throw Refused{PositionOf(mark), "an alias within its own anchor"};
    }
    Count(mark, found->second->values);
    Attach(found->second);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode* node = New(YamlNode::Kind::kScalar, mark, tag, anchor);
    node->text = value;
    Attach(node);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    Start(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { End(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    Start(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  // A map or list whose end has not been seen.
  struct Open {
    YamlNode* node = nullptr;
    const YamlNode* key = nullptr;  // in a map: waits for its value
  };

  void Count(const YAML::Mark& mark, std::size_t values) {
    values_ += values;
    if (values_ > kMostValues) {
      throw Refused{PositionOf(mark),
                    fmt::format("more than {} values, with aliases written out", kMostValues)};
    }
  }

  YamlNode* New(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    // yaml-cpp calls a plain value "?" and a quoted one "!".
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refused{PositionOf(mark), fmt::format("tag {}; a policy needs no tags", Quoted(tag))};
    }
    Count(mark, 1);
    YamlNode* node = &tree_.nodes_.emplace_back();
    node->kind = kind;
    node->at = PositionOf(mark);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    return node;
  }

  void Start(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (open_.size() == kDeepestNesting) {
      throw Refused{PositionOf(mark), fmt::format("nested deeper than {} levels", kDeepestNesting)};
    }
    open_.push_back({New(kind, mark, tag, anchor)});
  }

  void End() {
    const YamlNode* ended = open_.back().node;
    open_.pop_back();
    Attach(ended);
  }

  // Puts a finished node where it belongs.
  void Attach(const YamlNode* node) {
    if (open_.empty()) {
      tree_.root_ = node;
      return;
    }
    Open& parent = open_.back();
    parent.node->values += node->values;
    if (parent.node->kind == YamlNode::Kind::kList) {
      parent.node->items.push_back(node);
    } else if (parent.key == nullptr) {
      parent.key = node;
    } else {
      parent.node->entries.push_back({parent.key, node});
      parent.key = nullptr;
    }
  }

  YamlTree& tree_;
  bool started_ = false;
  std::size_t values_ = 0;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode*> anchors_;
};

std::string_view KindName(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return "text";
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
  }
  return "";
}

YamlTree ReadYaml(std::string_view text, ErrorList& errors) {
  if (!CheckText(text, errors)) return {};
  YamlTree tree;
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    TreeBuilder builder(tree);
    // The second call finds the end of the text, or a second document.
    if (parser.HandleNextDocument(builder)) parser.HandleNextDocument(builder);
    return tree;
  } catch (const Refused& refused) {
    errors.Add(refused.at, refused.message);
  } catch (const YAML::Exception& error) {
    // The parser quotes single bytes, which may be half a character.
    errors.Add(PositionOf(error.mark), fmt::format("not YAML: {}", absl::CHexEscape(error.msg)));
  } catch (const std::exception& error) {
    errors.Add({}, fmt::format("cannot be parsed: {}", error.what()));
  }
  return {};
}

}  // namespace memgov::policy
