// Depthwise, two rows of outputs at once: an input row that both need is read once for both.
//
// Input rows are counted by the taps of the first row of outputs: row i is its tap i and, with
// `shift` rows from one row of outputs to the next, tap i - shift of the second.
#pragma once

#include "kernels/forward.h"

namespace jaxgroups {
namespace JG_ISA {

template <class T, int Outputs, int Taps, int Stride>
struct Pair {
  static constexpr int L = Vec<T>::lanes;
  static constexpr int Pixels = (Outputs - 1) * Stride + Taps;
  using Row = V<T>[Outputs][1];

  static constexpr int Edge = edge_of(Taps);

  template <bool Fast, bool First, bool Second>
  static JG_INLINE void row(const TileArgs<T>& a, Mask<T> some, int64_t at, const T* w, Row& first,
                            Row& second) {
    StridedPointer<T> walk(a.x, at, a.x_tap);
    const T* const w1 = w - a.shift * a.w_row;
    V<T> weight[2][Taps];
    JG_UNROLL
    for (int k = 0; k < Taps; ++k) {
      if constexpr (First) weight[0][k] = load(w + k * L);
      if constexpr (Second) weight[1][k] = load(w1 + k * L);
    }
    int64_t inside = a.inside;
    opaque(inside);
    JG_UNROLL
    for (int q = 0; q < Pixels; ++q) {
      if ((Fast && q >= Edge && q < Pixels - Edge) || JG_LIKELY(inside >> q & 1)) {
        const V<T> x = load_masked(walk.at(q), some);
        JG_UNROLL
        for (int k = 0; k < Taps; ++k) {
          const int offset = q - k;
          if (offset >= 0 && offset % Stride == 0 && offset / Stride < Outputs) {
            if constexpr (First) first[offset / Stride][0] += x * weight[0][k];
            if constexpr (Second) second[offset / Stride][0] += x * weight[1][k];
          }
        }
      }
      walk.pass(q);
    }
  }

  static void run(const TileArgs<T>& a) {
    each_block<InputMode::depthwise, Outputs, Pair, true>(a, inner(a.inside, Pixels, Edge));
  }

  template <bool Fast>
  static JG_INLINE void tile(const TileArgs<T>& a, const BlockArgs<T>& part) {
    const Mask<T> some = part.some;
    Row first, second;
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      first[t][0] = second[t][0] = load(part.bias);
    }
    const int64_t from = smaller(a.from[0], a.from[1] + a.shift);
    const int64_t to = a.to[1] + a.shift > a.to[0] ? a.to[1] + a.shift : a.to[0];
    for (int64_t d = 0; d < a.depths; ++d) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t at = part.origin + d * a.x_depth + i * a.x_row;
        const T* const w = part.w + d * a.w_depth + i * a.w_row;
        const bool in_first = i >= a.from[0] && i < a.to[0];
        const bool in_second = i - a.shift >= a.from[1] && i - a.shift < a.to[1];
        if (in_first && in_second) {
          row<Fast, true, true>(a, some, at, w, first, second);
        } else if (in_first) {
          row<Fast, true, false>(a, some, at, w, first, second);
        } else if (in_second) {
          row<Fast, false, true>(a, some, at, w, first, second);
        }
      }
    }
    store_tile<InputMode::depthwise, false>(a, part.y, part.ny, first);
    store_tile<InputMode::depthwise, false>(a, part.y + a.y_row, part.ny, second);
  }
};

}  // namespace JG_ISA
}  // namespace jaxgroups
