// For this room's tests: a process inside a cgroup that holds memory of every kind, as told.

#pragma once

#include <sys/types.h>

#include <cstdint>

#include "governor/core/units.h"
#include "governor/kernel/test_cgroups.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Every call waits until the process has done it, and fails the test when it could not.
class Holder {
 public:
  using Region = std::int64_t;

  // `directory` is where its files are made (and unlinked at once).
  explicit Holder(const RealCgroup& cgroup, const std::string& directory = "/var/tmp");
  ~Holder();
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  pid_t pid() const { return pid_; }

  // Anonymous memory, not touched yet.
  Region Map(core::Bytes bytes) { return Order({kMap, 0, 0, bytes}); }
  Region MapHuge(core::Bytes bytes) { return Order({kMapHuge, 0, 0, bytes}); }
  void Write(Region region, core::Bytes offset, core::Bytes bytes) { Order({kWrite, region, offset, bytes}); }
  // Every second page only, from `offset` on.
  void WriteEveryOther(Region region, core::Bytes offset, core::Bytes bytes) {
    Order({kWriteOdd, region, offset, bytes});
  }
  void FreeLazily(Region region, core::Bytes offset, core::Bytes bytes) {
    Order({kFree, region, offset, bytes});
  }
  void Unmap(Region region, core::Bytes offset, core::Bytes bytes) { Order({kUnmap, region, offset, bytes}); }
  void Lock(Region region, core::Bytes offset, core::Bytes bytes) { Order({kLock, region, offset, bytes}); }
  // How many of these pages still begin with what Write has put there.
  core::Bytes Intact(Region region, core::Bytes offset, core::Bytes bytes) {
    return Order({kIntact, region, offset, bytes});
  }
  // A file in the page cache, clean and mapped; the region can be locked.
  Region MakeFile(core::Bytes bytes) { return Order({kFile, 0, 0, bytes}); }
  // A memfd, which is tmpfs; the region can be locked.
  Region MakeShmem(core::Bytes bytes) { return Order({kShmem, 0, 0, bytes}); }

 private:
  enum Kind : std::int64_t {
    kHello,
    kMap,
    kMapHuge,
    kWrite,
    kWriteOdd,
    kFree,
    kUnmap,
    kLock,
    kIntact,
    kFile,
    kShmem
  };
  struct Command {
    std::int64_t kind;
    std::int64_t region;
    std::int64_t offset;
    std::int64_t bytes;
  };
  struct Life;  // what happens in the child

  std::int64_t Order(const Command& command);

  pid_t pid_ = -1;
  UniqueFd orders_;
  UniqueFd answers_;
};

}  // namespace memgov::kernel
