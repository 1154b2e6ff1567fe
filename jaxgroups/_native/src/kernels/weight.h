// The weight gradient of one block over some output rows.
//
// For a row of taps the sums of `Taps` taps times `Rows` tap rows times `Channels` input channels
// stay in registers over all pixels of the rows. A few pixels are taken at a time: their
// gradients y are loaded once, and each input pixel q once (or once per channel), to meet every y
// it belongs to, t = (q - k) / Stride. Pixels outside the image are skipped, as in forward.h.
#pragma once

#include "runtime/geometry.h"
#include "simd/simd.h"

namespace jaxgroups {
namespace JG_ISA {

// One output row: where its image begins in x, and the input row of tap 0 on both axes.
struct OutputRow {
  int64_t image, depth, height;
  int64_t y;  // offset of its first pixel
};

template <class T>
struct RowStrip {
  const T* x;
  const T* y;
  const OutputRow* rows;
  int64_t count;           // of rows
  int64_t tap_d, tap_h;    // input rows from tap 0 to the first tap row of this kernel
  int64_t row_step;        // input rows from a tap row to the next
  int64_t column, stride;  // input column of output 0 for the first tap; input columns per output
  int64_t x_row, x_depth, x_pixel, x_step;  // x_step: from a tap pixel to the next
  int64_t y_pixel;
  int64_t first, last;  // output columns [first, last) that meet any pixel of the image
  const Problem* problem;
  int64_t channel;  // first of the `Channels` input channels, within the group
  const int32_t* near;
  int nx, ny;
  bool more;   // the sums are added to what is there
  bool ahead;  // the next block's lines are asked for
  T* sums;     // [row][channel][tap][vector][lane], strides below
  int64_t sums_row, sums_channel, sums_tap;
};

template <class T, InputMode S, int Taps, int Stride, int Rows, int Channels, int Vectors>
struct Gradient {
  static constexpr int L = Vec<T>::lanes;
  static constexpr int kLanes = L / k_split(S);  // outputs of a vector
  using Sums = V<T>[Rows][Channels][Taps][Vectors];
  static constexpr int Free = (JG_VECTOR_BYTES == 64 ? 31 : 15) - Rows * Channels * Taps * Vectors;
  // pixels taken at once: as many gradients as there are registers left for
  static constexpr int Many = Free / Vectors >= 4 ? 4 : Free / Vectors >= 2 ? Free / Vectors : 1;

  // Pixels [p, p + Outputs); `rows`: input offsets of the tap rows, `there`: bit r: row r is inside
  template <int Outputs>
  static JG_INLINE void pixels(const RowStrip<T>& a, Sums& sum, Mask<T> some, const Mask<T>* some_y,
                               const T* y, int64_t p, const int64_t* rows, uint32_t there) {
    constexpr int Pixels = (Outputs - 1) * Stride + Taps;
    V<T> grad[Outputs][Vectors];
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      JG_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        grad[t][v] =
            times<k_split(S), T>(load_masked(y + (p + t) * a.y_pixel + v * kLanes, some_y[v]));
      }
    }
    if (S == InputMode::depthwise && a.ahead) {
      // the next block passes over the same pixels, one cache line on
      const int64_t last = rows[Rows - 1] + a.x_pixel * (a.column + p * a.stride) + L;
      for (int q = 0; q < Outputs; ++q) {
        prefetch<false>(y, (p + q) * a.y_pixel + L);
        prefetch<false>(a.x, last + q * a.stride * a.x_pixel);
      }
    }
    const int64_t column = a.column + p * a.stride;
    int64_t inside = -1;  // bit q: input pixel q is in the image
    if constexpr (Taps > 1) {
      const int64_t before = -column, there_to = a.problem->axis[2].size - column;
      if (before > 0) inside &= before < Pixels ? -(int64_t{1} << before) : 0;
      if (there_to < Pixels) inside &= there_to > 0 ? (int64_t{1} << there_to) - 1 : 0;
    }
    const T* const base = a.x;
    const int64_t x_step = a.x_step;
    JG_UNROLL
    for (int r = 0; r < Rows; ++r) {
      if (JG_LIKELY(there >> r & 1)) {
        int64_t at = rows[r] + column * a.x_pixel;
        opaque(inside);
        JG_UNROLL
        for (int q = 0; q < Pixels; ++q) {
          if (JG_LIKELY(inside >> q & 1)) {
            JG_UNROLL
            for (int i = 0; i < Channels; ++i) {
              const Reader<S, T> read(some, a.near, a.channel + i);
              const V<T> x = read(base + at + read.start(a.channel + i));
              JG_UNROLL
              for (int k = 0; k < Taps; ++k) {
                const int offset = q - k;
                if (offset >= 0 && offset % Stride == 0 && offset / Stride < Outputs) {
                  JG_UNROLL
                  for (int v = 0; v < Vectors; ++v) {
                    sum[r][i][k][v] += x * grad[offset / Stride][v];
                  }
                }
              }
            }
          }
          at += x_step;
          opaque(at);
        }
      }
    }
  }

  static void run(const RowStrip<T>& a) {
    const Axis* const axis = a.problem->axis;
    Sums sum;
    JG_UNROLL
    for (int r = 0; r < Rows; ++r) {
      JG_UNROLL
      for (int i = 0; i < Channels; ++i) {
        JG_UNROLL
        for (int k = 0; k < Taps; ++k) {
          JG_UNROLL
          for (int v = 0; v < Vectors; ++v) {
            sum[r][i][k][v] = V<T>{};
          }
        }
      }
    }
    const Mask<T> some(a.nx);
    const auto some_of = [&](int v) {
      return Mask<T>(static_cast<int>(smaller(a.ny - v * kLanes, kLanes)));
    };
    const Mask<T> some_y[5] = {some_of(0), some_of(1), some_of(2), some_of(3), some_of(4)};
    for (int64_t i = 0; i < a.count; ++i) {
      const OutputRow& row = a.rows[i];
      const int64_t in_d = row.depth + a.tap_d;
      if (in_d < 0 || in_d >= axis[0].size) continue;
      int64_t rows[Rows] = {};
      uint32_t there = 0;
      for (int r = 0; r < Rows; ++r) {
        const int64_t in_h = row.height + a.tap_h + r * a.row_step;
        if (in_h < 0 || in_h >= axis[1].size) continue;
        rows[r] = row.image + in_d * a.x_depth + in_h * a.x_row;
        there |= 1u << r;
      }
      if (!there) continue;
      const T* const y = a.y + row.y;
      int64_t p = a.first;
      for (; p + Many <= a.last; p += Many) pixels<Many>(a, sum, some, some_y, y, p, rows, there);
      if constexpr (Many > 3) {
        if (p + 3 == a.last) pixels<3>(a, sum, some, some_y, y, p, rows, there);
      }
      if constexpr (Many > 2) {
        if (p + 2 == a.last) pixels<2>(a, sum, some, some_y, y, p, rows, there);
      }
      if (Many > 1 && p + 1 == a.last) pixels<1>(a, sum, some, some_y, y, p, rows, there);
    }
    JG_UNROLL
    for (int r = 0; r < Rows; ++r) {
      JG_UNROLL
      for (int i = 0; i < Channels; ++i) {
        JG_UNROLL
        for (int k = 0; k < Taps; ++k) {
          T* const to = a.sums + r * a.sums_row + i * a.sums_channel + k * a.sums_tap;
          JG_UNROLL
          for (int v = 0; v < Vectors; ++v) {
            store(to + v * L, a.more ? load(to + v * L) + sum[r][i][k][v] : sum[r][i][k][v]);
          }
        }
      }
    }
  }
};

}  // namespace JG_ISA
}  // namespace jaxgroups
