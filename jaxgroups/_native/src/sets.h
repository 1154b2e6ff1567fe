// The instruction sets of this build that this processor runs, the widest first.
#pragma once

#include "kernels.h"

namespace jaxgroups {

struct Sets {
  const Kernels* all[4];
  int count;
  int first;  // index of the widest that may be used
};

Sets& sets();

}  // namespace jaxgroups
