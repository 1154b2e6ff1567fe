// Weights in the order in which the kernels read them, each vector in one piece.
//
// (*kernel, c, g o) becomes [depth phase][height phase][width phase][block][d][h][c][w][lane]:
// the taps of one phase of a block follow each other, lanes without an output hold zeros, and where
// outputs have several lanes, so many channels lie beside each other. Only the
// blocks at work are packed, into memory that the task has to itself.
//
// The weights may stand in any order in their array, mirrored too: `Plan::weights` has the
// weight_strides. So an input gradient reads the weights of its forward convolution where they are.
#pragma once

#include <algorithm>

#include "runtime/problem.h"
#include "runtime/transpose.h"

namespace jaxgroups {

// Calls f(packed, row, plain) for every tap of `block`: where its first channel is in each order,
// and how far the packed channels are apart, `k_split` at a time.
template <class F>
void each_tap(const Plan& plan, int64_t first, int64_t count, int64_t block, const F& f) {
  const Problem& p = plan.problem;
  const int64_t* const step = plan.weights.tap;
  const int64_t lanes = plan.lanes();
  for (const Phase& fd : plan.phases[0]) {
    for (const Phase& fh : plan.phases[1]) {
      for (const Phase& fw : plan.phases[2]) {
        const int64_t row = lanes * k_split(plan.blocks.mode) * fw.taps;
        int64_t at =
            (taps_before(p, fd, fh, fw) * count + (block - first) * fd.taps * fh.taps * fw.taps) *
            p.c * lanes;
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
void each_run(const Plan& plan, const ChannelBlock& block, const F& f) {
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

// A matrix of channels and outputs into packed rows, `Beside` channels to a row: number (i, l),
// found at i * apart + l * step, goes to i / Beside * row + l * Beside + i % Beside.
template <int Beside, class T>
void arrange(const T* __restrict from, int64_t channels, int64_t apart, int64_t outputs,
             int64_t step, T* __restrict to, int64_t row) {
  if (Beside == 1 && apart == 1 && step != 1)
    return transpose(from, channels, outputs, step, to, row);
  for (int64_t i = 0; i < channels; i += Beside) {
    const T* const s = from + i * apart;
    T* const t = to + i / Beside * row;
    if (step == 1) {  // written twice, so that the compiler knows of it
      for (int64_t l = 0; l < outputs; ++l) {
        for (int j = 0; j < Beside; ++j) t[l * Beside + j] = s[j * apart + l];
      }
    } else {
      for (int64_t l = 0; l < outputs; ++l) {
        for (int j = 0; j < Beside; ++j) t[l * Beside + j] = s[j * apart + l * step];
      }
    }
  }
}

template <int Beside, class T>
void pack_beside(const Plan& plan, int64_t first, int64_t end, const T* plain, T* packed) {
  const int64_t lanes = plan.lanes(), channels = plan.problem.c;
  for (int64_t block = first; block < end; ++block) {
    const ChannelBlock part = block_of(plan.problem, plan.blocks, block);
    each_tap(plan, first, end - first, block, [&](int64_t to, int64_t row, int64_t tap) {
      each_run(plan, part, [&](int64_t lane, int64_t from, int64_t count, int64_t step) {
        arrange<Beside>(plain + tap + from, channels, plan.weights.c, count, step,
                        packed + to + lane * Beside, row);
      });
      for (int64_t i = 0; part.ny < lanes && i < channels; i += Beside) {
        T* const t = packed + to + i / Beside * row;
        std::fill(t + part.ny * Beside, t + lanes * Beside, T{0});
      }
    });
  }
}

template <class T>
void pack(const Plan& plan, int64_t first, int64_t end, const T* plain, T* packed) {
  const int beside = k_split(plan.blocks.mode);
  if (beside == 4) return pack_beside<4>(plan, first, end, plain, packed);
  if (beside == 2) return pack_beside<2>(plan, first, end, plain, packed);
  pack_beside<1>(plan, first, end, plain, packed);
}

// What the sums of the outputs of blocks [first, end) begin with; null stands for zeros. Where an
// output has several lanes, it is the first's.
template <class T>
void pack_bias(const Plan& plan, int64_t first, int64_t end, const T* bias, T* packed) {
  const int64_t lanes = plan.lanes(), beside = k_split(plan.blocks.mode);
  for (int64_t i = 0; i < (end - first) * lanes * beside; ++i) packed[i] = 0;
  for (int64_t block = first; bias != nullptr && block < end; ++block, packed += lanes * beside) {
    const ChannelBlock part = block_of(plan.problem, plan.blocks, block);
    for (int64_t l = 0; l < part.ny; ++l) packed[l * beside] = bias[part.y + l];
  }
}

// BlockPlan [first, end) out of packed order: the sum of `parts`, always in the same order, each
// `step` numbers after the one before.
template <int Beside, class T>
void unpack_beside(const Plan& plan, int64_t first, int64_t end, const T* packed, int64_t parts,
                   int64_t step, T* plain) {
  for (int64_t block = first; block < end; ++block) {
    const ChannelBlock part = block_of(plan.problem, plan.blocks, block);
    each_tap(plan, first, end - first, block, [&](int64_t from, int64_t row, int64_t tap) {
      for (int64_t i = 0; i < plan.problem.c; ++i) {
        T* const __restrict to = plain + tap + part.y + i * plan.weights.c;
        const T* __restrict at = packed + from + i / Beside * row + i % Beside;
        for (int64_t l = 0; l < part.ny; ++l) to[l] = at[l * Beside];
        for (int64_t n = 1; n < parts; ++n) {
          at += step;
          for (int64_t l = 0; l < part.ny; ++l) to[l] += at[l * Beside];
        }
      }
    });
  }
}

template <class T>
void unpack_sum(const Plan& plan, int64_t first, int64_t end, const T* packed, int64_t parts,
                int64_t step, T* plain) {
  const int beside = k_split(plan.blocks.mode);
  if (beside == 4) return unpack_beside<4>(plan, first, end, packed, parts, step, plain);
  if (beside == 2) return unpack_beside<2>(plan, first, end, packed, parts, step, plain);
  unpack_beside<1>(plan, first, end, packed, parts, step, plain);
}

}  // namespace jaxgroups
