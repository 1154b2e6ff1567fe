// Weights in the order in which the kernels read them, each vector in one piece.
//
// (*kernel, c, g o) becomes [depth phase][height phase][width phase][block][d][h][c][w][lane]:
// the taps of one phase of a block follow each other, lanes without an output hold zeros. Only the
// blocks at work are packed, into memory that the task has to itself.
#pragma once

#include "plan.h"

namespace jaxgroups {

// Calls f(packed, plain, lanes, filled) for every vector of `block`: where it is in each order,
// where `count` blocks from `first` on are packed.
template <class F>
void each_vector(const Plan& plan, int64_t first, int64_t count, int64_t block, const F& f) {
  const Problem& p = plan.problem;
  const int64_t lanes = plan.lanes(), outputs = p.groups * p.o;
  const Block part = block_of(p, plan.blocks, block);
  for (const Phase& fd : plan.phases[0]) {
    for (const Phase& fh : plan.phases[1]) {
      for (const Phase& fw : plan.phases[2]) {
        int64_t to = (taps_before(p, fd, fh, fw) * count +
                      (block - first) * fd.taps * fh.taps * fw.taps) * p.c * lanes;
        for (int64_t d = 0; d < fd.taps; ++d) {
          for (int64_t h = 0; h < fh.taps; ++h) {
            const int64_t tap_d = fd.tap + d * fd.tap_step, tap_h = fh.tap + h * fh.tap_step;
            for (int64_t i = 0; i < p.c; ++i) {
              for (int64_t w = 0; w < fw.taps; ++w, to += lanes) {
                const int64_t tap_w = fw.tap + w * fw.tap_step;
                const int64_t tap = (tap_d * p.axis[1].kernel + tap_h) * p.axis[2].kernel + tap_w;
                f(to, (tap * p.c + i) * outputs + part.y, lanes, part.ny);
              }
            }
          }
        }
      }
    }
  }
}

template <class T>
void pack(const Plan& plan, int64_t first, int64_t end, const T* plain, T* packed) {
  for (int64_t block = first; block < end; ++block) {
    each_vector(plan, first, end - first, block, [&](int64_t to, int64_t from, int64_t lanes, int64_t filled) {
      for (int64_t l = 0; l < filled; ++l) packed[to + l] = plain[from + l];
      for (int64_t l = filled; l < lanes; ++l) packed[to + l] = 0;
    });
  }
}

// Blocks [first, end) out of packed order: the sum of `parts`, always in the same order, each
// `step` numbers after the one before.
template <class T>
void unpack_sum(const Plan& plan, int64_t first, int64_t end, const T* packed, int64_t parts,
                int64_t step, T* plain) {
  for (int64_t block = first; block < end; ++block) {
    each_vector(plan, first, end - first, block, [&](int64_t from, int64_t to, int64_t, int64_t filled) {
      for (int64_t l = 0; l < filled; ++l) {
        T sum = packed[from + l];
        for (int64_t i = 1; i < parts; ++i) sum += packed[i * step + from + l];
        plain[to + l] = sum;
      }
    });
  }
}

}  // namespace jaxgroups
