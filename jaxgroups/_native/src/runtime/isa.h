// The instruction isas of this build that this processor runs, the widest first.
#pragma once

#include "runtime/kernel_table.h"

namespace jaxgroups {

struct Isas {
  const Kernels* all[4];
  int count;
  int first;  // index of the widest that may be used
};

Isas& isas();

}  // namespace jaxgroups
