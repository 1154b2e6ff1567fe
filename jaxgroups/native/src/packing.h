// Weights in the order in which the kernels read them, each vector in one piece.
//
// (*kernel, c, g o) becomes [depth phase][height phase][width phase][block][d][h][c][w][lane]:
// the taps of one phase of a block follow each other, lanes without an output hold zeros, and where
// outputs have several lanes, so many channels lie beside each other. Only the
// blocks at work are packed, into memory that the task has to itself.
//
// The weights may stand in any order in their array, mirrored too: `Plan::weights` has the steps. So
// an input gradient reads the weights of its forward convolution where they are.
#pragma once

#include "plan.h"

namespace jaxgroups {

// Calls f(packed, row, plain) for every tap of `block`: where its first channel is in each order,
// and how far the packed channels are apart, `fold` at a time.
template <class F>
void each_tap(const Plan& plan, int64_t first, int64_t count, int64_t block, const F& f) {
  const Problem& p = plan.problem;
  const int64_t* const step = plan.weights.tap;
  const int64_t lanes = plan.lanes();
  for (const Phase& fd : plan.phases[0]) {
    for (const Phase& fh : plan.phases[1]) {
      for (const Phase& fw : plan.phases[2]) {
        const int64_t row = lanes * fold(plan.blocks.spread) * fw.taps;
        int64_t at = (taps_before(p, fd, fh, fw) * count +
                      (block - first) * fd.taps * fh.taps * fw.taps) * p.c * lanes;
        for (int64_t d = 0; d < fd.taps; ++d) {
          for (int64_t h = 0; h < fh.taps; ++h, at += p.c * lanes * fw.taps) {
            const int64_t from = plan.weights.offset + (fd.tap + d * fd.tap_step) * step[0] +
                                 (fh.tap + h * fh.tap_step) * step[1];
            for (int64_t w = 0; w < fw.taps; ++w) {
              f(at + w * (row / fw.taps), row, from + (fw.tap + w * fw.tap_step) * step[2]);
            }
          }
        }
      }
    }
  }
}

// Calls f(lane, plain, count, step) for the outputs of `block`, so many at a time: its first lane,
// where that is, counted from the channel and tap, and how far the outputs are apart.
template <class F>
void each_run(const Plan& plan, const Block& block, const F& f) {
  const Problem& p = plan.problem;
  const Weights& w = plan.weights;
  const int64_t end = block.y + block.ny;
  if (p.o == 1) return f(0, block.y * w.g, int64_t{block.ny}, w.g);
  if (w.g == p.o * w.o) return f(0, block.y * w.o, int64_t{block.ny}, w.o);
  for (int64_t y = block.y; y < end;) {
    const int64_t within = y % p.o, count = smaller(p.o - within, end - y);
    f(y - block.y, y / p.o * w.g + within * w.o, count, w.o);
    y += count;
  }
}

template <class T>
void pack(const Plan& plan, int64_t first, int64_t end, const T* plain, T* packed) {
  const int64_t lanes = plan.lanes(), beside = fold(plan.blocks.spread);
  const int64_t channels = plan.problem.c, apart = plan.weights.c;
  for (int64_t block = first; block < end; ++block) {
    const Block part = block_of(plan.problem, plan.blocks, block);
    each_tap(plan, first, end - first, block, [&](int64_t to, int64_t row, int64_t tap) {
      each_run(plan, part, [&](int64_t lane, int64_t from, int64_t count, int64_t step) {
        T* const target = packed + to + lane * beside;
        const T* const source = plain + tap + from;
        if (apart == 1 && step != 1) {  // as the array goes, so that no line of it is read twice
          for (int64_t l = 0; l < count; ++l) {
            for (int64_t i = 0; i < channels; i += beside) {
              for (int64_t j = 0; j < beside; ++j) {
                target[i / beside * row + l * beside + j] = source[l * step + i + j];
              }
            }
          }
          return;
        }
        for (int64_t i = 0; i < channels; ++i) {
          T* const t = target + i / beside * row + i % beside;
          const T* const s = source + i * apart;
          if (step == 1) {
            for (int64_t l = 0; l < count; ++l) t[l * beside] = s[l];
          } else {
            for (int64_t l = 0; l < count; ++l) t[l * beside] = s[l * step];
          }
        }
      });
      for (int64_t i = 0; part.ny < lanes && i < channels; ++i) {
        T* const t = packed + to + i / beside * row + i % beside;
        for (int64_t l = part.ny; l < lanes; ++l) t[l * beside] = 0;
      }
    });
  }
}

// What the sums of the outputs of blocks [first, end) begin with; null stands for zeros. Where an
// output has several lanes, it is the first's.
template <class T>
void pack_bias(const Plan& plan, int64_t first, int64_t end, const T* bias, T* packed) {
  const int64_t lanes = plan.lanes(), beside = fold(plan.blocks.spread);
  for (int64_t i = 0; i < (end - first) * lanes * beside; ++i) packed[i] = 0;
  for (int64_t block = first; bias != nullptr && block < end; ++block, packed += lanes * beside) {
    const Block part = block_of(plan.problem, plan.blocks, block);
    for (int64_t l = 0; l < part.ny; ++l) packed[l * beside] = bias[part.y + l];
  }
}

// Blocks [first, end) out of packed order: the sum of `parts`, always in the same order, each
// `step` numbers after the one before.
template <class T>
void unpack_sum(const Plan& plan, int64_t first, int64_t end, const T* packed, int64_t parts,
                int64_t step, T* plain) {
  const int64_t beside = fold(plan.blocks.spread);
  for (int64_t block = first; block < end; ++block) {
    const Block part = block_of(plan.problem, plan.blocks, block);
    each_tap(plan, first, end - first, block, [&](int64_t from, int64_t row, int64_t tap) {
      T* const to = plain + tap + part.y;
      for (int64_t i = 0; i < plan.problem.c; ++i) {
        const T* const channel = packed + from + i / beside * row + i % beside;
        for (int64_t l = 0; l < part.ny; ++l) {
          const T* const at = channel + l * beside;
          T sum = *at;
          for (int64_t n = 1; n < parts; ++n) sum += at[n * step];
          to[i * plan.weights.c + l] = sum;
        }
      }
    });
  }
}

}  // namespace jaxgroups
