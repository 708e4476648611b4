// Names of cgroups are their makers' to choose: any path is read without harm, a normalised path stays as it
// is, and no path leads out of its root.

#include "governor/identity/attestor.h"
#include "governor/identity/container_name.h"
#include "governor/kernel/cgroup_path.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using memgov::fuzz::Require;
  const std::string_view text = memgov::fuzz::Text(data, size);
  const std::string path = memgov::kernel::NormalisedPath(text);
  if (!path.empty()) {
    Require(memgov::kernel::NormalisedPath(path) == path, "a normalised path is one");
    Require(memgov::kernel::IsWithin(path, "/"), "everything is below the root");
    Require(path.find("/../") == std::string::npos, "no way out of a normalised path");
  }
  (void)memgov::kernel::IndependentRoots({std::string(text), path, "/a"});

  const absl::string_view seen(text.data(), text.size());
  const auto name = memgov::identity::ParseContainerName(seen);
  Require(
      (name.kind == memgov::identity::ContainerKind::kOther) == memgov::identity::DisplayName(name).empty(),
      "what is known has a name to show");
  Require(name.container_id.size() <= text.size(), "an id is a part of the path");

  const auto found = memgov::identity::MemoryCgroupPath(seen);
  if (found.ok()) Require(found->front() == '/', "a memory cgroup's path is absolute");
  const auto resolved = memgov::identity::ResolveCgroupPath(seen, "/pods/pod1");
  if (resolved.ok()) Require(resolved->front() == '/', "a resolved path is absolute");
  return 0;
}
