// From the sizes of a call to a checked problem and the way it is cut into vectors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/geometry.h"
#include "runtime/kernel_table.h"

namespace jaxgroups {

struct Ints {
  const int64_t* data;
  int64_t size;
  int64_t operator[](int64_t i) const { return data[i]; }
};

// What a call says: shapes channels last, the kernel (*kernel, c, g o), one number per axis.
//
// `weight_strides`, which may be empty, say where the weights stand in an array of `numbers`
// numbers: from number `offset` on, so many numbers apart along each of (*kernel, c, g, o). Without
// them the array is the kernel itself.
struct Call {
  Ints x, w, y;
  Ints stride, low, high, dilation, lhs_dilation;
  int64_t groups;
  Ints weight_strides;
  int64_t offset, elements;
};

// How far apart the weights are along each axis of (d, h, w, c, g, o), from number `offset` on.
struct Weights {
  int64_t tap[3], c, g, o, offset;
};

struct Plan {
  Problem problem;
  Weights weights;
  BlockPlan blocks;
  std::vector<Phase> phases[3];
  std::vector<int32_t> near;

  int64_t taps() const {
    return problem.axis[0].kernel * problem.axis[1].kernel * problem.axis[2].kernel;
  }
  int64_t rows() const { return problem.batch * problem.axis[0].out * problem.axis[1].out; }
  int64_t lanes() const { return int64_t{blocks.lanes} * blocks.vectors; }
  // Numbers of the packed weights of so many blocks.
  int64_t packed(int64_t count) const { return taps() * problem.c * lanes() * count; }
};

// Fills `plan.problem`. Returns what is wrong with the call, empty if nothing is: after that every
// offset the kernels form is inside its array and fits in 64 bits.
std::string check(const Call& call, Plan& plan);

// The kernels for this problem, of `best` or one of the narrower isas after it, and the blocks.
// `gradient`: the weight gradient is wanted.
template <class T>
const KernelsOf<T>& choose_kernels(const Kernels* const* best, int isas, bool gradient, Plan& plan);

}  // namespace jaxgroups
