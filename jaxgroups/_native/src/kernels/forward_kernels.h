// Which microkernel computes a tile: the shapes and tile widths that are compiled, and the choice.
#pragma once

#include "kernels/forward.h"
#include "kernels/forward_pair.h"
#include "runtime/kernel_table.h"

namespace jaxgroups {
namespace JG_ISA {

constexpr bool kManyRegisters = JG_VECTOR_BYTES == 64;

template <class T>
using TileKernel = void (*)(const TileArgs<T>&);

// The widths of tiles that are compiled, widest first, as far as registers allow. Each width of
// each shape is a kernel, and compiling them takes most of the build's time.
struct Widths {
  int all[8];
  constexpr int operator[](int i) const { return all[i]; }
};

// Outputs of the widest tile that is compiled.
constexpr int kMostOutputs = 14;

// Which kernels are made at all: the baseline and double precision are seldom run.
template <class T>
constexpr bool kSpecial = JG_VECTOR_BYTES > 16 && sizeof(T) == 4;

template <class T>
constexpr Widths widths_of([[maybe_unused]] int vectors, [[maybe_unused]] int taps,
                           [[maybe_unused]] int stride) {
#ifdef JG_WIDTHS
  return {{JG_WIDTHS}};
#else
  if (!kSpecial<T>) return {{7, 4, 1}};
  if (taps == 0 || stride < 0) return {{14, 7, 4, 1}};
  if (vectors > 1) return {{8, 7, 5, 4, 1}};
  return {{14, 7, 5, 4, 1}};
#endif
}

// The width that computes a row with the least waste, where each tile costs as much as one more
// output.
inline int tile_width(const Widths& widths, int64_t count, int widest) {
  int best = 1;
  int64_t least = 2 * count;
  for (int i = 0; widths[i] > 1; ++i) {
    const int w = widths[i];
    if (w > widest || w > count) continue;
    const int64_t cost = (count + w - 1) / w * (w + 1);
    if (cost >= least) continue;
    least = cost;
    best = w;
  }
  return best;
}

// Outputs of the widest tile: sums, weights and one input vector fit in the registers.
constexpr int widest(const Widths& widths, int vectors, int taps) {
  const int most = ((kManyRegisters ? 31 : 15) - vectors * (taps > 0 ? taps : 1)) / vectors;
  int i = 0;
  while (widths[i] > 1 && widths[i] > most) ++i;
  return widths[i];
}

// The kernel of `width` outputs, which is one of Family::kWidths and at most Family::kWidest.
template <class Family, class T, int I = 0>
TileKernel<T> kernel_of_width(int width) {
  constexpr int w = Family::kWidths[I];
  if constexpr (w == 1) {
    return Family::template Kernel<1>::run;
  } else {
    if constexpr (w <= Family::kWidest) {
      if (width == w) return Family::template Kernel<w>::run;
    }
    return kernel_of_width<Family, T, I + 1>(width);
  }
}

template <class T, InputMode S, int Vectors, int Taps, int Stride>
struct Single {
  template <int Outputs>
  using Kernel = Fixed<T, S, Outputs, Vectors, Taps, Stride>;
  static constexpr Widths kWidths = widths_of<T>(Vectors, Taps, Stride);
  static constexpr int kWidest = widest(kWidths, Vectors, Taps);
  static TileKernel<T> of(int64_t count, int& width) {
    width = tile_width(kWidths, count, (int)smaller(kWidest, width));
    return kernel_of_width<Single, T>(width);
  }
};

template <class T, int Taps, int Stride>
struct Double {
  template <int Outputs>
  using Kernel = Pair<T, Outputs, Taps, Stride>;
#ifdef JG_WIDTHS
  static constexpr Widths kWidths{{JG_WIDTHS}};
#else
  static constexpr Widths kWidths{{8, 7, 5, 4, 1}};
#endif
  static constexpr int kWidest = 8;
  static TileKernel<T> of(int64_t count, int& width) {
    width = tile_width(kWidths, count, (int)smaller(kWidest, width));
    return kernel_of_width<Double, T>(width);
  }
};

// The stride of a kernel for an input dilated by 2: output t and tap k meet input pixel (t + k + e)
// / 2, where e is 0 or 1, by whether the distance of the tile's first output from tap 0 is even or
// odd.
constexpr int kDilatedEven = -2, kDilatedOdd = -1;

// Taps and stride of the kernel made for a phase; 0 and 0 where only the general one fits.
struct Shape {
  int taps, stride;
  constexpr bool is(int t, int s) const { return taps == t && stride == s; }
};

inline Shape shape_of(const Phase& w) {
  if (w.up == 2) return {static_cast<int>(w.taps), kDilatedEven};
  if (w.taps == 1) return {1, 1};
  if (w.dilation != 1 || w.stride > 2 || w.taps > 7) return {0, 0};
  return {static_cast<int>(w.taps), static_cast<int>(w.stride)};
}

// Outputs with several lanes: where vectors are wide, many numbers of channels would waste lanes.
template <class T>
constexpr bool kHasKSplit = JG_VECTOR_BYTES == 64 && sizeof(T) == 4;

// Whether there are kernels for both phases of an input dilated by 2. Outputs of several lanes have
// them for one and two vectors: with three they are seldom of a strided layer.
template <class T, InputMode S, int Vectors>
constexpr bool kTakesUp = kSpecial<T> && (k_split(S) == 1 || Vectors < 3);

template <class T, InputMode S, int Vectors>
TileKernel<T> kernel_of_shape(Shape& s, int64_t count, int& width) {
  if (s.is(1, 1)) return Single<T, S, Vectors, 1, 1>::of(count, width);
  if constexpr (Vectors < 3 || (Vectors == 3 && kHasKSplit<T>)) {
    if (s.is(3, 1)) return Single<T, S, Vectors, 3, 1>::of(count, width);
    if constexpr (kSpecial<T>) {
      if constexpr (kTakesUp<T, S, Vectors>) {
        if (s.is(3, kDilatedEven)) return Single<T, S, Vectors, 3, kDilatedEven>::of(count, width);
        if (s.is(3, kDilatedOdd)) return Single<T, S, Vectors, 3, kDilatedOdd>::of(count, width);
      }
      if (s.is(2, 1)) return Single<T, S, Vectors, 2, 1>::of(count, width);
      if (s.is(3, 2)) return Single<T, S, Vectors, 3, 2>::of(count, width);
      if constexpr (S == InputMode::depthwise) {
        if (s.is(5, 1)) return Single<T, S, Vectors, 5, 1>::of(count, width);
        if (s.is(5, 2)) return Single<T, S, Vectors, 5, 2>::of(count, width);
        if (s.is(5, kDilatedEven)) return Single<T, S, Vectors, 5, kDilatedEven>::of(count, width);
        if (s.is(5, kDilatedOdd)) return Single<T, S, Vectors, 5, kDilatedOdd>::of(count, width);
        if (s.is(7, 1)) return Single<T, S, Vectors, 7, 1>::of(count, width);
      } else {
        if (s.is(5, 1)) return Single<T, S, Vectors, 5, 1>::of(count, width);
      }
    }
  }
  s = {0, 0};
  return Single<T, S, Vectors, 0, 0>::of(count, width);
}

// The kernel of a row of `count` outputs; `width`, at most that, becomes the width of its tiles.
// Each mode has an object of its own, with its kernels of this, `pair_kernel` and `strip_kernel`.
template <class T, InputMode S>
TileKernel<T> tile_kernel(const BlockPlan& b, Shape& s, int64_t count, int& width) {
  if constexpr (wide(S)) {
    if constexpr (kManyRegisters) {
      if (b.vectors == 5) return kernel_of_shape<T, S, 5>(s, count, width);
    }
    if (b.vectors == 3) return kernel_of_shape<T, S, 3>(s, count, width);
    if (b.vectors == 2) return kernel_of_shape<T, S, 2>(s, count, width);
  }
  return kernel_of_shape<T, S, 1>(s, count, width);
}

template <class T>
TileKernel<T> kernel_of(const BlockPlan& b, Shape& s, int64_t count, int& width) {
  if (b.mode == InputMode::depthwise)
    return tile_kernel<T, InputMode::depthwise>(b, s, count, width);
  if (b.mode == InputMode::gather) return tile_kernel<T, InputMode::gather>(b, s, count, width);
  if constexpr (kHasKSplit<T>) {
    if (b.mode == InputMode::broadcast2)
      return tile_kernel<T, InputMode::broadcast2>(b, s, count, width);
    if (b.mode == InputMode::broadcast4)
      return tile_kernel<T, InputMode::broadcast4>(b, s, count, width);
  }
  return tile_kernel<T, InputMode::broadcast>(b, s, count, width);
}

// Whether `kernel_of` has one for both phases of an input dilated by 2.
template <class T>
bool takes_up(const BlockPlan& b, int64_t taps) {
  const int most = kHasKSplit<T> && k_split(b.mode) == 1 ? 3 : 2;
  if (!kSpecial<T> || b.vectors > most) return false;
  return taps == 3 || (taps == 5 && b.mode == InputMode::depthwise);
}

// The kernel of two rows at once; null where there is none.
template <class T, InputMode S>
TileKernel<T> pair_kernel(Shape s, int64_t count, int& width) {
  if constexpr (kManyRegisters && kSpecial<T> && S == InputMode::depthwise) {
    if (s.taps == 3 && s.stride == 1) return Double<T, 3, 1>::of(count, width);
    if (s.taps == 3 && s.stride == 2) return Double<T, 3, 2>::of(count, width);
    if (s.taps == 5 && s.stride == 1) return Double<T, 5, 1>::of(count, width);
  }
  return nullptr;
}

}  // namespace JG_ISA
}  // namespace jaxgroups
