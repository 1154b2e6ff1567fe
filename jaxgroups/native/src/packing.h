// Weights in the order in which the kernels read them, each vector in one piece.
//
// (*kernel, c, g o) becomes [depth phase][height phase][width phase][block][d][h][c][w][lane]:
// the taps of one phase of a block follow each other, lanes without an output hold zeros.
#pragma once

#include "plan.h"

namespace jaxgroups {

// Calls f(packed, plain, lanes, filled) for every vector of `block`: where it is in each order.
template <class F>
void each_vector(const Plan& plan, int64_t block, const F& f) {
  const Problem& p = plan.problem;
  const int64_t lanes = plan.lanes(), outputs = p.groups * p.o;
  const Block part = block_of(p, plan.blocks, block);
  for (const Phase& fd : plan.phases[0]) {
    for (const Phase& fh : plan.phases[1]) {
      for (const Phase& fw : plan.phases[2]) {
        int64_t to = (taps_before(p, fd, fh, fw) * plan.blocks.count +
                      block * fd.taps * fh.taps * fw.taps) * p.c * lanes;
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
void pack(const Plan& plan, int64_t block, const T* plain, T* packed) {
  each_vector(plan, block, [&](int64_t to, int64_t from, int64_t lanes, int64_t filled) {
    for (int64_t l = 0; l < filled; ++l) packed[to + l] = plain[from + l];
    for (int64_t l = filled; l < lanes; ++l) packed[to + l] = 0;
  });
}

// The sum of `parts` packed weights, always in the same order, out of packed order.
template <class T>
void unpack_sum(const Plan& plan, int64_t block, const T* packed, int64_t parts, T* plain) {
  const int64_t size = plan.packed();
  each_vector(plan, block, [&](int64_t from, int64_t to, int64_t, int64_t filled) {
    for (int64_t l = 0; l < filled; ++l) {
      T sum = packed[from + l];
      for (int64_t i = 1; i < parts; ++i) sum += packed[i * size + from + l];
      plain[to + l] = sum;
    }
  });
}

}  // namespace jaxgroups
