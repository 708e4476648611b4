// One owner for one file descriptor (base/unique_fd.h).

#pragma once

#include "governor/base/unique_fd.h"

namespace memgov::kernel {

using base::UniqueFd;

}  // namespace memgov::kernel
