// The forward convolution of one tile: `T` neighbouring outputs of a row times a block of channels;
// then of the next blocks, for narrow blocks are little work for a call each.
//
// The accumulators stay in registers over all taps and input channels of a group. A tap row is
// walked by input pixels: the vector of input pixel q is made once and meets every weight of the
// row that connects it to an output of the tile, t = (q - k) / S. Pixels outside the image are
// skipped by a bit of a mask, tap rows outside by the range of rows the caller hands over, so a
// border costs less than the interior and nothing is padded or copied.
#pragma once

#include "runtime/geometry.h"
#include "runtime/tuning.h"
#include "simd/simd.h"

namespace jaxgroups {
namespace JG_ISA {

template <class T>
struct TileArgs {
  const T* x;              // the image; positions in it are counted from here
  int64_t origin;          // input of output 0, first tap row, tap 0, first channel
  int64_t x_depth, x_row;  // from a tap row to the next, in depth and height
  int64_t x_pixel, x_tap;  // from an output to the next, from a tap to the next
  const T* w;              // packed: [depth][row][c][tap][vector][lane]
  int64_t w_depth, w_row;
  const T* bias;  // what sums begin with, packed: [vector][lane]
  int64_t depths, rows, taps, c;
  int64_t first, size;  // input column of output 0 and tap 0; columns of the image
  int64_t stride, dilation;
  int64_t inside;  // bit q: input pixel q of the tile is in the image (fixed taps)
  T* y;
  int64_t y_pixel;
  int64_t y_row,
      shift;  // pair.h: to the second row of outputs; its tap 0 is tap `shift` of the first
  int64_t from[2], to[2];  // pair.h: tap rows inside, of either row of outputs
  const int32_t* near;
  int64_t blocks, x_block, y_block, w_block;  // from a block to the next; 0 where there is but one
  int64_t nx, ny;                             // channels of all blocks, input and output
  bool clipped;                               // results are clipped to [low, high]
  T low, high;
  bool ahead;  // the lines that the tile to the right adds are asked for
  int64_t ahead_x, ahead_pixels, ahead_channels;  // where its first is; how many, how far apart
  int64_t ahead_rows;                             // rows that the tiles before these have not read
};

// Comparisons are false of NaNs, which stay.
template <class T>
JG_INLINE V<T> clipped(V<T> x, V<T> low, V<T> high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// One block of a tile.
template <class T>
struct BlockArgs {
  int64_t origin;
  const T* w;
  const T* bias;
  T* y;
  Mask<T> some;  // input channels that are read as one vector
  int ny;        // outputs that there are
};

// Calls Kernel::tile<fast> for each block. `fast` is true where `may_be_fast` is and no lanes are
// missing, or their masks cost nothing. `Fast` says whether the kernel has such a body at all.
template <InputMode S, int Outputs, class Kernel, bool Fast, class T, class... Extra>
JG_INLINE void each_block(const TileArgs<T>& a, bool may_be_fast, const Extra&... extra) {
  constexpr int L = Vec<T>::lanes;
  constexpr bool kFree = JG_VECTOR_BYTES == 64 || S != InputMode::depthwise;
  int64_t origin = a.origin, nx = a.nx, ny = a.ny;
  const T* w = a.w;
  const T* bias = a.bias;
  T* y = a.y;
  for (int64_t b = 0; b < a.blocks; ++b) {
    if (!wide(S) && a.ahead) {
      for (int64_t r = 0; r < a.ahead_rows; ++r) {
        const int64_t row = origin + a.ahead_x - r * a.x_row;
        for (int64_t q = 0; q < a.ahead_pixels; ++q)
          prefetch<false>(a.x, row + q * a.ahead_channels);
      }
      for (int q = 0; q < Outputs; ++q) prefetch<true>(y, (Outputs + q) * a.y_pixel);
    }
    const int lanes = (int)smaller(nx, a.x_block);
    const BlockArgs<T> part{origin, w, bias, y, Mask<T>(lanes), (int)smaller(ny, a.y_block)};
    if (Fast && may_be_fast && (kFree || lanes == L)) {
      Kernel::template tile<Fast>(a, part, extra...);
    } else {
      Kernel::template tile<false>(a, part, extra...);
    }
    origin += a.x_block;
    nx -= a.x_block;
    y += a.y_block;
    ny -= a.y_block;
    w += a.w_block;
    bias += L;
  }
}

// Sums of a tile. A long sum is made of short ones, so that its error stays small: after each
// `kMaxTerms` products of one output, what is in the registers is added to sums in memory.
template <class T, int Outputs, int Vectors>
struct Sums {
  V<T> now[Outputs][Vectors];
  V<T> before[Outputs][Vectors];
  int64_t after, left;  // input channels until the registers are full, from the start and now
  bool more = false;

  JG_INLINE Sums(int64_t taps, const T* bias)
      : after(taps > 0 && taps < kMaxTerms ? kMaxTerms / taps : 1), left(after) {
    JG_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      const V<T> first = load(bias + v * Vec<T>::lanes);
      JG_UNROLL
      for (int t = 0; t < Outputs; ++t) {
        now[t][v] = first;
      }
    }
  }
  JG_INLINE void clear() {
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      JG_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        now[t][v] = V<T>{};
      }
    }
  }
  // To be called after each input channel.
  JG_INLINE void step() {
    if (__builtin_expect(--left != 0, 1)) return;
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      JG_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        before[t][v] = more ? before[t][v] + now[t][v] : now[t][v];
      }
    }
    clear();
    left = after;
    more = true;
  }
  JG_INLINE void finish() {
    if (!more) return;
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      JG_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        now[t][v] += before[t][v];
      }
    }
  }
};

template <InputMode S, bool Full, class T, int Outputs, int Vectors>
JG_INLINE void store_tile(const TileArgs<T>& a, T* y, int ny, V<T> (&sum)[Outputs][Vectors]) {
  constexpr int kLanes = Vec<T>::lanes / k_split(S);
  if constexpr (k_split(S) > 1) {
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      JG_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        sum[t][v] = sum_split<k_split(S), T>(sum[t][v]);
      }
    }
  }
  if (a.clipped) {
    const V<T> low = broadcast(a.low), high = broadcast(a.high);
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      JG_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        sum[t][v] = clipped<T>(sum[t][v], low, high);
      }
    }
  }
  JG_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    const int left = ny - v * kLanes;
    const Mask<T> there(left < kLanes ? left : kLanes);
    StridedPointer<T> walk(y, v * kLanes, a.y_pixel);
    JG_UNROLL
    for (int t = 0; t < Outputs; ++t) {
      T* const to = const_cast<T*>(walk.at(t));
      if (Full) {
        store(to, sum[t][v]);
      } else {
        store_masked(to, sum[t][v], there);
      }
      walk.pass(t);
    }
  }
}

// The output that input pixel q and tap k of a tile meet, -1 if none. A negative stride is that of
// an input dilated by 2: t = 2 q - k - e, where e, 0 or 1, is stride + 2.
constexpr int output_of(int q, int k, int stride) {
  if (stride < 0) return 2 * q - k - (stride + 2);
  return q >= k && (q - k) % stride == 0 ? (q - k) / stride : -1;
}

// How many input pixels a tile meets.
constexpr int pixels_of(int outputs, int taps, int stride) {
  if (stride < 0) return (outputs - 1 + taps - 1 + stride + 2) / 2 + 1;
  return (outputs - 1) * stride + taps;
}

// Pixels at either end of a tile that may be outside of the image, in most convolutions: tests for
// all of them cost as much as the rest.
constexpr int edge_of(int taps) { return taps / 2; }

inline bool inner(int64_t inside, int pixels, int edge) {
  const int64_t all = ((int64_t{1} << (pixels - edge)) - 1) & -(int64_t{1} << edge);
  return (inside & all) == all;
}

// Taps and strides known at compile time, dilation 1.
template <class T, InputMode S, int Outputs, int Vectors, int Taps, int Stride>
struct Fixed {
  static constexpr int L = Vec<T>::lanes;
  static constexpr int Pixels = pixels_of(Outputs, Taps, Stride);
  static constexpr int Edge = edge_of(Taps);

  static void run(const TileArgs<T>& a) {
    constexpr bool kFast = Taps == 1 || S == InputMode::depthwise;
    each_block<S, Outputs, Fixed, kFast>(a, kFast && inner(a.inside, Pixels, Edge));
  }

  // `Fast`: pixels are tested at the edges only, and where masks are not for free, lanes are not.
  template <bool Fast>
  static JG_INLINE void tile(const TileArgs<T>& a, const BlockArgs<T>& part) {
    constexpr bool Full = Fast && JG_VECTOR_BYTES < 64 && S == InputMode::depthwise;
    const int64_t channels = S == InputMode::depthwise ? 1 : a.c;
    Sums<T, Outputs, Vectors> sum(Taps, part.bias);
    for (int64_t d = 0; d < a.depths; ++d) {
      for (int64_t r = 0; r < a.rows; ++r) {
        const int64_t row = part.origin + d * a.x_depth + r * a.x_row;
        const T* w = part.w + d * a.w_depth + r * a.w_row;
        for (int64_t i = 0; i < channels; ++i, w += Taps * Vectors * L) {
          const Reader<S, T, Full> read(part.some, a.near, i);
          V<T> weight[Taps][Vectors];
          JG_UNROLL
          for (int k = 0; k < Taps; ++k) {
            JG_UNROLL
            for (int v = 0; v < Vectors; ++v) {
              weight[k][v] = load(w + (k * Vectors + v) * L);
            }
          }
          StridedPointer<T> walk(a.x, row + read.start(i), a.x_tap);
          int64_t inside = a.inside;
          if (!Fast || Edge > 0) opaque(inside);
          JG_UNROLL
          for (int q = 0; q < Pixels; ++q) {
            if ((Fast && q >= Edge && q < Pixels - Edge) || JG_LIKELY(inside >> q & 1)) {
              const V<T> x = read(walk.at(q));
              JG_UNROLL
              for (int k = 0; k < Taps; ++k) {
                const int t = output_of(q, k, Stride);
                if (t >= 0 && t < Outputs) {
                  JG_UNROLL
                  for (int v = 0; v < Vectors; ++v) {
                    sum.now[t][v] += x * weight[k][v];
                  }
                }
              }
            }
            walk.pass(q);
          }
          if (S != InputMode::depthwise) sum.step();
        }
      }
    }
    if (S != InputMode::depthwise) sum.finish();
    store_tile<S, Full>(a, part.y, part.ny, sum.now);
  }
};

// Any taps, stride and dilation. Only taps that meet a pixel of the image are walked.
template <class T, InputMode S, int Outputs, int Vectors>
struct Fixed<T, S, Outputs, Vectors, 0, 0> {
  static void run(const TileArgs<T>& a) {
    const int64_t width = (Outputs - 1) * a.stride;
    const bool whole = a.first >= 0 && a.first + width + (a.taps - 1) * a.dilation < a.size;
    Taps taps{0, a.taps};
    if (!whole) {
      taps.from = taps_inside(a.first + width, a.dilation, a.taps, a.size).from;
      taps.to = taps_inside(a.first, a.dilation, a.taps, a.size).to;
    }
    each_block<S, Outputs, Fixed, false>(a, false, whole, taps);
  }

  template <bool>
  static JG_INLINE void tile(const TileArgs<T>& a, const BlockArgs<T>& part, bool whole,
                             Taps taps) {
    if (whole) return sum_taps<true>(a, part, taps);
    sum_taps<false>(a, part, taps);
  }

  template <bool Whole>
  static JG_INLINE void sum_taps(const TileArgs<T>& a, const BlockArgs<T>& part, const Taps taps) {
    constexpr int L = Vec<T>::lanes;
    Sums<T, Outputs, Vectors> sum(taps.to - taps.from, part.bias);
    for (int64_t d = 0; d < a.depths; ++d) {
      for (int64_t r = 0; r < a.rows; ++r) {
        const int64_t row = part.origin + d * a.x_depth + r * a.x_row;
        const T* const weights = part.w + d * a.w_depth + r * a.w_row;
        for (int64_t i = 0; i < a.c; ++i) {
          const Reader<S, T> read(part.some, a.near, i);
          const T* w = weights + (i * a.taps + taps.from) * Vectors * L;
          for (int64_t k = taps.from; k < taps.to; ++k, w += Vectors * L) {
            V<T> weight[Vectors];
            JG_UNROLL
            for (int v = 0; v < Vectors; ++v) {
              weight[v] = load(w + v * L);
            }
            int64_t column = a.first + k * a.dilation;
            StridedPointer<T> walk(a.x, row + k * a.x_tap + read.start(i), a.x_pixel);
            JG_UNROLL
            for (int t = 0; t < Outputs; ++t) {
              if (Whole || JG_LIKELY(column >= 0 && column < a.size)) {
                const V<T> x = read(walk.at(t));
                JG_UNROLL
                for (int v = 0; v < Vectors; ++v) {
                  sum.now[t][v] += x * weight[v];
                }
              }
              column += a.stride;
              walk.pass(t);
            }
          }
          sum.step();
        }
      }
    }
    sum.finish();
    store_tile<S, false>(a, part.y, part.ny, sum.now);
  }
};

}  // namespace JG_ISA
}  // namespace jaxgroups
