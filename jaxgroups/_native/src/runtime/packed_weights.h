// Weights that are packed once, for many calls.
#pragma once

#include <stdexcept>

#include "runtime/packing.h"

namespace jaxgroups {

// All blocks of a convolution, packed. `layout` names the order; 0 stands for none.
template <class T>
struct PackedWeights {
  const T* data = nullptr;
  int64_t layout = 0, size = 0;
};

// The order in which the weights of a plan are packed, as one number; 0 where they are not packed
// once: the blocks of an input with several phases do not follow each other, and where the only
// phase has some of the taps, a block is shorter than `Plan::packed` counts.
inline int64_t layout_of(const Plan& plan) {
  int64_t taps = 1;
  for (const std::vector<Phase>& phases : plan.phases) {
    if (phases.size() != 1) return 0;
    taps *= phases[0].taps;
  }
  if (taps != plan.taps()) return 0;
  return int64_t{plan.blocks.lanes} | int64_t{plan.blocks.vectors} << 8 |
         (static_cast<int64_t>(plan.blocks.mode) + 1) << 16;
}

template <class T>
void check_packed(const Plan& plan, const PackedWeights<T>& once) {
  if (once.data == nullptr) return;
  if (once.layout != layout_of(plan) || once.size != plan.packed(plan.blocks.count)) {
    throw std::invalid_argument("the weights were packed for another convolution or other kernels");
  }
}

}  // namespace jaxgroups
