// What each instruction set offers, as tables of functions: the handlers choose one at run time.
#pragma once

#include "runtime/epilogue.h"
#include "runtime/geometry.h"
#include "runtime/tuning.h"

namespace jaxgroups {

// Output rows [row, row_end), of each the columns [column, column_end), and blocks [block,
// block_end) of a forward convolution. A row is one (image, depth, height) of the output, in memory
// order. Some of the columns are possible where the last axis has one phase, and nothing is copied.
template <class T>
struct ForwardTask {
  const Problem* problem;
  const BlockPlan* blocks;
  const T* x;
  const T* w;     // of these blocks, packed: see packing.h
  const T* bias;  // of these blocks, packed too; zeros where there is none
  T* y;
  T* copied;             // room for kCopied numbers, the blocks' channels; null: nothing is copied
  int64_t band;          // rows of one image that all blocks pass over in turn, or are copied for
  int64_t blocks_in_l1;  // how many blocks have weights that stay in the first cache
  int64_t row, row_end, block, block_end;
  const Epilogue<T>* epilogue;  // of each finished output
  int64_t column, column_end;
};

// The same rows and blocks of a weight gradient; their sums go to `w`, in packed order.
template <class T>
struct WeightTask {
  const Problem* problem;
  const BlockPlan* blocks;
  const T* x;
  const T* y;
  T* w;
  T* copied;  // room for twice kCopied numbers
  int64_t row, row_end, block, block_end;
};

template <class T>
struct KernelsOf {
  int lanes;
  bool wide_registers;  // 32 vector registers, not 16
  bool has_k_split;     // whether outputs may have several lanes
  bool (*takes_up)(const BlockPlan&,
                   int64_t taps);  // whether there is a kernel for a phase with up = 2
  void (*forward)(const ForwardTask<T>&);
  void (*weight)(const WeightTask<T>&);
  // see kernels/channel_sums.h
  void (*channel_sums)(const T* a, const T* b, const T* shift, int64_t rows, int64_t channels,
                       double* sums);
};

struct Kernels {
  const char* name;
  const KernelsOf<float>* f32;
  const KernelsOf<double>* f64;

  template <class T>
  const KernelsOf<T>& of() const {
    if constexpr (sizeof(T) == 4) {
      return *f32;
    } else {
      return *f64;
    }
  }
};

}  // namespace jaxgroups
