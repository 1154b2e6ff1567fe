// Weights in the order in which the kernels read them, each vector in one piece.
//
// (*kernel, c, g o) becomes [depth phase][height phase][width phase][block][d][h][c][w][lane]:
// the taps of one phase of a block follow each other, lanes without an output hold zeros, and where
// outputs have several lanes, so many channels lie beside each other. Only the
// blocks at work are packed, into memory that the task has to itself.
#pragma once

#include "plan.h"

namespace jaxgroups {

// Calls f(packed, plain, filled) for every channel of every vector of `block`: where it is in each order,
// where `count` blocks from `first` on are packed.
template <class F>
void each_vector(const Plan& plan, int64_t first, int64_t count, int64_t block, const F& f) {
  const Problem& p = plan.problem;
  const int64_t lanes = plan.lanes(), outputs = p.groups * p.o, beside = fold(plan.blocks.spread);
  const Block part = block_of(p, plan.blocks, block);
  for (const Phase& fd : plan.phases[0]) {
    for (const Phase& fh : plan.phases[1]) {
      for (const Phase& fw : plan.phases[2]) {
        int64_t to = (taps_before(p, fd, fh, fw) * count +
                      (block - first) * fd.taps * fh.taps * fw.taps) * p.c * lanes;
        for (int64_t d = 0; d < fd.taps; ++d) {
          for (int64_t h = 0; h < fh.taps; ++h) {
            const int64_t tap_d = fd.tap + d * fd.tap_step, tap_h = fh.tap + h * fh.tap_step;
            for (int64_t i = 0; i < p.c; i += beside) {
              for (int64_t w = 0; w < fw.taps; ++w, to += lanes * beside) {
                const int64_t tap_w = fw.tap + w * fw.tap_step;
                const int64_t tap = (tap_d * p.axis[1].kernel + tap_h) * p.axis[2].kernel + tap_w;
                const int64_t from = (tap * p.c + i) * outputs + part.y;
                for (int64_t j = 0; j < beside; ++j) f(to + j, from + j * outputs, part.ny);
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
  const int64_t lanes = plan.lanes(), beside = fold(plan.blocks.spread);
  for (int64_t block = first; block < end; ++block) {
    each_vector(plan, first, end - first, block, [&](int64_t to, int64_t from, int64_t filled) {
      for (int64_t l = 0; l < filled; ++l) packed[to + l * beside] = plain[from + l];
      for (int64_t l = filled; l < lanes; ++l) packed[to + l * beside] = 0;
    });
  }
}

// Blocks [first, end) out of packed order: the sum of `parts`, always in the same order, each
// `step` numbers after the one before.
template <class T>
void unpack_sum(const Plan& plan, int64_t first, int64_t end, const T* packed, int64_t parts,
                int64_t step, T* plain) {
  const int64_t beside = fold(plan.blocks.spread);
  for (int64_t block = first; block < end; ++block) {
    each_vector(plan, first, end - first, block, [&](int64_t from, int64_t to, int64_t filled) {
      for (int64_t l = 0; l < filled; ++l) {
        const T* const at = packed + from + l * beside;
        T sum = *at;
        for (int64_t i = 1; i < parts; ++i) sum += at[i * step];
        plain[to + l] = sum;
      }
    });
  }
}

}  // namespace jaxgroups
