// The forward convolution of one tile: `T` neighbouring outputs of a row times a block of channels.
//
// The accumulators stay in registers over all taps and input channels of a group. A tap row is
// walked by input pixels: the vector of input pixel q is made once and meets every weight of the
// row that connects it to an output of the tile, t = (q - k) / S. Pixels outside the image are
// skipped by a bit of a mask, tap rows outside by the range of rows the caller hands over, so a
// border costs less than the interior and nothing is padded or copied.
#pragma once

#include "geometry.h"
#include "vec.h"

namespace jaxgroups {
namespace JG_ISA {

template <class T>
struct Tile {
  const T* x;           // the image; positions in it are counted from here
  int64_t origin;       // input of output 0, first tap row, tap 0, first channel of the block
  int64_t x_depth, x_row;   // from a tap row to the next, in depth and height
  int64_t x_pixel, x_tap;   // from an output to the next, from a tap to the next
  const T* w;           // packed: [depth][row][c][tap][vector][lane]
  int64_t w_depth, w_row;
  int64_t depths, rows, taps, c;
  int64_t first, size;  // input column of output 0 and tap 0; columns of the image
  int64_t stride, dilation;
  int64_t inside;       // bit q: input pixel q of the tile is in the image (fixed taps)
  T* y;
  int64_t y_pixel;
  int64_t y_row, shift;  // pair.h: to the second row of outputs; its tap 0 is tap `shift` of the first
  int64_t from[2], to[2];  // pair.h: tap rows inside, of either row of outputs
  const int32_t* near;
  int nx, ny;
};

// Sums of a tile. A long sum is made of short ones, so that its error stays small: after each
// `Terms` products of one output, what is in the registers is added to sums in memory.
template <class T, int Outputs, int Vectors>
struct Sums {
  static constexpr int64_t Terms = 96;
  V<T> now[Outputs][Vectors];
  V<T> before[Outputs][Vectors];
  int64_t after, left;  // input channels until the registers are full, from the start and now
  bool more = false;

  explicit JG_INLINE Sums(int64_t taps) : after(taps > 0 && taps < Terms ? Terms / taps : 1), left(after) {
    clear();
  }
  JG_INLINE void clear() {
    unroll<Outputs>([&](auto t) JG_LAMBDA {
      unroll<Vectors>([&](auto v) JG_LAMBDA { now[t][v] = V<T>{}; });
    });
  }
  // To be called after each input channel.
  JG_INLINE void step() {
    if (__builtin_expect(--left != 0, 1)) return;
    unroll<Outputs>([&](auto t) JG_LAMBDA {
      unroll<Vectors>([&](auto v) JG_LAMBDA {
        before[t][v] = more ? before[t][v] + now[t][v] : now[t][v];
      });
    });
    clear();
    left = after;
    more = true;
  }
  JG_INLINE void finish() {
    if (!more) return;
    unroll<Outputs>([&](auto t) JG_LAMBDA {
      unroll<Vectors>([&](auto v) JG_LAMBDA { now[t][v] += before[t][v]; });
    });
  }
};

template <class T, int Outputs, int Vectors>
JG_INLINE void store_tile(const Tile<T>& a, const V<T> (&sum)[Outputs][Vectors]) {
  unroll<Vectors>([&](auto v) JG_LAMBDA {
    const Some<T> there(a.ny - v * Vec<T>::lanes);
    unroll<Outputs>([&](auto t) JG_LAMBDA {
      store_some(a.y + t * a.y_pixel + v * Vec<T>::lanes, sum[t][v], there);
    });
  });
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

// Taps and strides known at compile time, dilation 1.
template <class T, Spread S, int Outputs, int Vectors, int Taps, int Stride>
struct Fixed {
  static constexpr int L = Vec<T>::lanes;
  static constexpr int Pixels = pixels_of(Outputs, Taps, Stride);
  static constexpr int64_t All = (int64_t{1} << Pixels) - 1;

  static void run(const Tile<T>& a) {
    // a single tap has little work for each test of the mask, so most tiles do without
    if (Taps == 1 && a.inside == All) return tile<true>(a);
    tile<false>(a);
  }

  template <bool Whole>
  static JG_INLINE void tile(const Tile<T>& a) {
    const T* const base = a.x;
    const int64_t step = a.x_tap;
    const Some<T> some(a.nx);
    Sums<T, Outputs, Vectors> sum(Taps);
    for (int64_t d = 0; d < a.depths; ++d) {
      for (int64_t r = 0; r < a.rows; ++r) {
        const int64_t row = a.origin + d * a.x_depth + r * a.x_row;
        const T* w = a.w + d * a.w_depth + r * a.w_row;
        for (int64_t i = 0; i < a.c; ++i, w += Taps * Vectors * L) {
          const Reader<S, T> read(some, a.near, i);
          V<T> weight[Taps][Vectors];
          unroll<Taps>([&](auto k) JG_LAMBDA {
            unroll<Vectors>([&](auto v) JG_LAMBDA { weight[k][v] = load(w + (k * Vectors + v) * L); });
          });
          int64_t at = row, inside = a.inside;
          if (!Whole) opaque(inside);
          unroll<Pixels>([&](auto q) JG_LAMBDA {
            if (Whole || (inside >> q & 1)) {
              const V<T> x = read(base + at);
              unroll<Taps>([&](auto k) JG_LAMBDA {
                constexpr int t = output_of(decltype(q)::value, decltype(k)::value, Stride);
                if constexpr (t >= 0 && t < Outputs) {
                  unroll<Vectors>([&](auto v) JG_LAMBDA {
                    sum.now[t][v] += x * weight[k][v];
                  });
                }
              });
            }
            at += step;
            opaque(at);
          });
          if (S != Spread::lanes) sum.step();
        }
      }
    }
    if (S != Spread::lanes) sum.finish();
    store_tile(a, sum.now);
  }
};

// Any taps, stride and dilation. Only taps that meet a pixel of the image are walked.
template <class T, Spread S, int Outputs, int Vectors>
struct Fixed<T, S, Outputs, Vectors, 0, 0> {
  static void run(const Tile<T>& a) {
    const int64_t width = (Outputs - 1) * a.stride;
    if (a.first >= 0 && a.first + width + (a.taps - 1) * a.dilation < a.size) {
      return tile<true>(a, {0, a.taps});
    }
    const int64_t from = taps_inside(a.first + width, a.dilation, a.taps, a.size).from;
    tile<false>(a, {from, taps_inside(a.first, a.dilation, a.taps, a.size).to});
  }

  template <bool Whole>
  static JG_INLINE void tile(const Tile<T>& a, const Taps taps) {
    constexpr int L = Vec<T>::lanes;
    const Some<T> some(a.nx);
    Sums<T, Outputs, Vectors> sum(taps.to - taps.from);
    for (int64_t d = 0; d < a.depths; ++d) {
      for (int64_t r = 0; r < a.rows; ++r) {
        const int64_t row = a.origin + d * a.x_depth + r * a.x_row;
        const T* const weights = a.w + d * a.w_depth + r * a.w_row;
        for (int64_t i = 0; i < a.c; ++i) {
          const Reader<S, T> read(some, a.near, i);
          const T* w = weights + (i * a.taps + taps.from) * Vectors * L;
          for (int64_t k = taps.from; k < taps.to; ++k, w += Vectors * L) {
            V<T> weight[Vectors];
            unroll<Vectors>([&](auto v) JG_LAMBDA { weight[v] = load(w + v * L); });
            int64_t column = a.first + k * a.dilation;
            int64_t at = row + k * a.x_tap;
            unroll<Outputs>([&](auto t) JG_LAMBDA {
              if (Whole || (column >= 0 && column < a.size)) {
                const V<T> x = read(a.x + at);
                unroll<Vectors>([&](auto v) JG_LAMBDA { sum.now[t][v] += x * weight[v]; });
              }
              column += a.stride;
              at += a.x_pixel;
              opaque(at);
            });
          }
          sum.step();
        }
      }
    }
    sum.finish();
    store_tile(a, sum.now);
  }
};

}  // namespace JG_ISA
}  // namespace jaxgroups
