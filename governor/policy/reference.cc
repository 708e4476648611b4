#include "governor/policy/reference.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "governor/policy/schema_values.h"
#include "memgov/v1/policy.pb.h"

namespace memgov::policy {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::SourceLocation;

constexpr char kGenerated[] =
    "<!-- Written by `./dev docs` from proto/memgov/v1/policy.proto; change that, not this. -->\n";
constexpr char kIntroduction[] = R"(
`memgovd --policy PATH` reads a file, or a directory whose `*.yaml` files are one policy: their rules in the order of
the files' names, `node` in at most one of them. Names that begin with a dot are left out. All files together may have
1 MiB and 256 rules.

A policy is read again when its files change, whether they are written in place (then when the writer closes them),
renamed over or swapped behind a symbolic link, as Kubernetes does with a ConfigMap that is mounted as a directory;
SIGHUP reads it at once. A policy that is bad, or gone for more than a second, leaves the last good one in force: the
log names every mistake with file, line and column (`policy_refused`), and `STATE_DIR/status.json` has `policy` as
`degraded`, since when and why, until it is good again. `memgovd --check PATH` only looks.

Annotated policies for real needs stand in [policies/](../policies/).
)";
constexpr char kForms[] = R"(
## How values are written

| value | written as |
|---|---|
| size | `256MiB`: a number and `B`, `KiB`, `MiB`, `GiB` or `TiB` |
| share | `85%` |
| duration | `250ms`, `30s`, `1m30s`: numbers with `ns`, `us`, `ms`, `s`, `m` or `h` |
| number | `2`, `0.5` |
| path glob | a path below the root of the memory hierarchy, as `/proc/PID/cgroup` shows it: `*` stands for any part of one name, `**` for anything, also over several names |
| name glob | a name as Kubernetes allows it; `*` stands for any part of it |
| name | letters, digits, `-`, `_` and `.`, at most 63, a letter or digit first |

A unit that is missing, a value out of its range, a key that does not exist or stands twice: each is refused, with the
place and, where one is near, what may have been meant.
)";

// The comments of the schema. Compiled in, it has none; so what is described is looked up by its name in
// `schema`.
class Comments {
 public:
  explicit Comments(const FileDescriptorSet& schema) {
    for (const auto& file : schema.file()) pool_.BuildFile(file);
  }

  // Of the whole file, as it stands.
  std::string Head() const {
    const auto* file = pool_.FindFileByName(v1::Policy::descriptor()->file()->name());
    SourceLocation location;
    if (file == nullptr || !file->GetSourceLocation({FileDescriptorProto::kSyntaxFieldNumber}, &location) ||
        location.leading_detached_comments.empty()) {
      return "";
    }
    return Lines(location.leading_detached_comments.front());
  }

  // Of a field, message or enum value: paragraphs, each on one line, `between` them.
  std::string Of(const FieldDescriptor& field, std::string_view between) const {
    return Paragraphs(pool_.FindFieldByName(field.full_name()), between);
  }
  std::string Of(const Descriptor& message, std::string_view between) const {
    return Paragraphs(pool_.FindMessageTypeByName(message.full_name()), between);
  }
  std::string Of(const EnumValueDescriptor& value, std::string_view between) const {
    return Paragraphs(pool_.FindEnumValueByName(value.full_name()), between);
  }

 private:
  template <typename Element>
  static std::string Paragraphs(const Element* element, std::string_view between) {
    SourceLocation location;
    if (element == nullptr || !element->GetSourceLocation(&location)) return "";
    std::vector<std::string> paragraphs = absl::StrSplit(Lines(location.leading_comments), "\n\n");
    for (std::string& paragraph : paragraphs) paragraph = absl::StrReplaceAll(paragraph, {{"\n", " "}});
    return absl::StrJoin(paragraphs, absl::string_view(between.data(), between.size()));
  }

  static std::string Lines(const std::string& comment) {
    std::vector<std::string> lines;
    for (absl::string_view line : absl::StrSplit(comment, '\n')) {
      // One space belongs to the comment sign.
      lines.emplace_back(absl::StripTrailingAsciiWhitespace(line.empty() ? line : line.substr(1)));
    }
    return std::string(absl::StripAsciiWhitespace(absl::StrJoin(lines, "\n")));
  }

  DescriptorPool pool_;
};

std::string ValueOf(const FieldDescriptor& field) {
  const v1::KeyOptions& options = OptionsOf(field);
  if (!options.constant().empty()) return fmt::format("`{}`", options.constant());
  const std::string list = field.is_repeated() ? "list of " : "";
  if (field.enum_type() != nullptr) {
    std::vector<std::string> words;
    for (int i = 1; i < field.enum_type()->value_count(); ++i) {
      words.push_back(fmt::format("`{}`", EnumWord(*field.enum_type()->value(i))));
    }
    return list + absl::StrJoin(words, ", ");
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) return "`true`, `false`";
  std::string text = "text";
  switch (options.form()) {
    case v1::KeyOptions::FORM_BYTES:
      text = "size";
      break;
    case v1::KeyOptions::FORM_PERCENT:
      text = "share";
      break;
    case v1::KeyOptions::FORM_DURATION:
      text = "duration";
      break;
    case v1::KeyOptions::FORM_NUMBER:
      text = "number";
      break;
    case v1::KeyOptions::FORM_GLOB:
      text = "path glob";
      break;
    case v1::KeyOptions::FORM_NAME_GLOB:
      text = "name glob";
      break;
    case v1::KeyOptions::FORM_NAME:
      text = "name";
      break;
    default:
      break;
  }
  if (!options.minimum().empty()) text += fmt::format(", {} to {}", options.minimum(), options.maximum());
  return list + text + (options.can_be_never() ? ", or `never`" : "");
}

std::string DefaultOf(const FieldDescriptor& field) {
  const v1::KeyOptions& options = OptionsOf(field);
  if (options.required()) return "must be there";
  if (!options.default_value().empty()) {
    return fmt::format("`{}`", absl::StrReplaceAll(options.default_value(), {{"\"", ""}}));
  }
  return options.default_text();
}

std::string MeaningOf(const FieldDescriptor& field, const Comments& comments) {
  std::string meaning = comments.Of(field, "<br>");
  if (field.enum_type() == nullptr) return meaning;
  const EnumDescriptor& type = *field.enum_type();
  for (int i = 1; i < type.value_count(); ++i) {
    meaning += fmt::format("<br>`{}`: {}", EnumWord(*type.value(i)), comments.Of(*type.value(i), " "));
  }
  return meaning;
}

// The keys of `message`, then the sections within it. `place` is how a section is found: "rules[].wake".
void Describe(const Descriptor& message, const std::string& place, const Comments& comments,
              std::string& out) {
  std::string rows, sections;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.message_type() == nullptr) {
      rows += fmt::format("| `{}` | {} | {} | {} |\n", field.json_name(), ValueOf(field), DefaultOf(field),
                          MeaningOf(field, comments));
      continue;
    }
    const std::string inner = fmt::format("{}{}{}{}", place, place.empty() ? "" : ".", field.json_name(),
                                          field.is_repeated() ? "[]" : "");
    std::string text = comments.Of(field, "\n\n");
    const std::string more = comments.Of(*field.message_type(), "\n\n");
    if (!more.empty()) text += fmt::format("\n\n{}", more);
    if (OptionsOf(field).most_items() > 0)
      text += fmt::format("\n\nAt most {}.", OptionsOf(field).most_items());
    sections += fmt::format("\n## `{}`\n\n{}\n", inner, text);
    Describe(*field.message_type(), inner, comments, sections);
  }
  if (!rows.empty()) out += "\n| key | value | default | meaning |\n|---|---|---|---|\n" + rows;
  out += sections;
}

void WriteKeys(const Descriptor& message, std::size_t depth, std::string& out) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const v1::KeyOptions& options = OptionsOf(field);
    const std::string indent(depth * 2, ' ');
    if (field.message_type() != nullptr) {
      std::string inner;
      WriteKeys(*field.message_type(), depth + (field.is_repeated() ? 2 : 1), inner);
      if (field.is_repeated()) inner.replace((depth + 1) * 2, 2, "- ");
      out += fmt::format("{}{}:\n{}", indent, field.json_name(), inner);
    } else if (!options.constant().empty()) {
      out += fmt::format("{}{}: {}\n", indent, field.json_name(), options.constant());
    } else if (options.required()) {
      out += fmt::format("{}{}: my-rule\n", indent, field.json_name());
    } else if (!options.default_value().empty()) {
      out += fmt::format("{}{}: {}\n", indent, field.json_name(), options.default_value());
    } else {
      out += fmt::format("{}# {}: {}\n", indent, field.json_name(),
                         absl::StrReplaceAll(options.default_text(), {{"`", ""}}));
    }
  }
}

}  // namespace

std::string EveryKey() {
  std::string out;
  WriteKeys(*v1::Policy::descriptor(), 0, out);
  return out;
}

std::string ReferenceOf(const FileDescriptorSet& schema) {
  const Comments comments(schema);
  std::string out = fmt::format("{}# Policy files\n\n{}\n{}", kGenerated, comments.Head(), kIntroduction);
  out += kForms;
  out += "\n## The file\n";
  Describe(*v1::Policy::descriptor(), "", comments, out);
  out += fmt::format(
      "\n## Every key\n\nOne rule with every key at its default; what has none is commented "
      "out.\n\n```yaml\n{}```\n",
      EveryKey());
  return out;
}

}  // namespace memgov::policy
