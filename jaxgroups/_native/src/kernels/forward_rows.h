// Rows of a forward convolution: cuts them into tiles and picks the kernel of each.
#pragma once

#include "kernels/copy_channels.h"
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

// Outputs of a tile whose pixels, so many bytes apart, stay in the first cache: wide groups read
// them again for each channel.
inline int uncrowded(int64_t distance, const Phase& w) {
  const int64_t most = (places(distance) - w.taps) / w.stride + 1;
  return (int)smaller(most < kMinAccumulators ? kMinAccumulators : most, kMostOutputs);
}

// An image to read: the whole input's, or a copy of some of its channels and rows.
template <class T>
struct Image {
  const T* x;
  int64_t pixel;       // from a pixel to the next
  int64_t first, row;  // channel and row that come first
};

// One phase of one row, or of `two` rows: all tiles, and for each the blocks from `block` on.
template <class T>
void forward_row(const ForwardTask<T>& task, const Image<T>& image, const Phase& d, const Phase& h,
                 const Phase& w, int64_t row, bool two, int64_t block, int64_t block_end) {
  const Problem& p = *task.problem;
  const BlockPlan& b = *task.blocks;
  const Axis* const axis = p.axis;
  const int64_t channels = image.pixel, outputs = p.groups * p.o;
  const int64_t lanes = int64_t{b.lanes} * b.vectors;
  const int64_t oh = row % axis[1].out, od = row / axis[1].out % axis[0].out;

  const int64_t in_d = d.base + od / axis[0].phases * d.stride;
  const int64_t in_h = h.base + oh / axis[1].phases * h.stride;
  const Taps td = taps_inside(in_d, d.dilation, d.taps, axis[0].size);
  Taps th = taps_inside(in_h, h.dilation, h.taps, axis[1].size);

  TileArgs<T> a;
  const int64_t x_row = axis[2].size * channels, x_depth = axis[1].size * x_row;
  a.x = image.x;
  a.c = p.c / k_split(b.mode);
  a.taps = w.taps;
  a.w_row = w.taps * p.c * lanes;
  a.w_depth = h.taps * a.w_row;
  const int64_t per_block = d.taps * a.w_depth;
  a.depths = td.to - td.from;
  a.rows = w.taps ? th.to - th.from : 0;
  a.x_depth = a.depths > 1 ? d.dilation * x_depth : 0;  // unused steps might overflow
  a.x_row = a.rows > 1 ? h.dilation * x_row : 0;
  a.size = axis[2].size;
  a.stride = w.stride;
  a.dilation = w.dilation;
  a.x_pixel = w.stride * channels;
  a.y_pixel = w.step * outputs;
  a.near = b.near;
  a.x_block = b.groups_per_block * p.c;
  a.y_block = wide(b.mode) ? lanes : b.groups_per_block * p.o;
  a.w_block = per_block;
  Shape shape = shape_of(w);
  int width =
      wide(b.mode) ? uncrowded(channels * static_cast<int64_t>(sizeof(T)), w) : kMostOutputs;
  TileKernel<T> kernel = nullptr;
  if (two && b.mode == InputMode::depthwise)
    kernel = pair_kernel<T, InputMode::depthwise>(shape, w.count, width);
  if (two && kernel == nullptr) {
    forward_row(task, image, d, h, w, row, false, block, block_end);
    forward_row(task, image, d, h, w, row + h.step, false, block, block_end);
    return;
  }
  if (kernel == nullptr) kernel = kernel_of<T>(b, shape, w.count, width);
  TileKernel<T> odd = kernel;  // for tiles whose first output has an odd distance to tap 0
  if (w.up == 2) {
    Shape other{shape.taps, kDilatedOdd};
    odd = kernel_of<T>(b, other, w.count, width);
  }
  const bool single = shape.taps == 1;  // its pixels are the outputs', so any stride will do
  a.x_tap = single ? a.x_pixel : w.dilation * channels;
  const int64_t pixel = single ? w.stride : 1;

  if (two) {
    const Taps below = taps_inside(in_h + h.stride, h.dilation, h.taps, axis[1].size);
    a.shift = h.stride;
    a.from[0] = th.from;
    a.to[0] = th.to;
    a.from[1] = below.from;
    a.to[1] = below.to;
    a.y_row = h.step * axis[2].out * outputs;
    a.x_row = x_row;  // dilation 1, see `forward`
    th = {0, a.rows = th.to > below.to + a.shift ? th.to : below.to + a.shift};
  }
  int64_t in_rows = 0;
  if (a.depths > 0 && a.rows > 0) {
    in_rows =
        (in_d + td.from * d.dilation) * x_depth + (in_h + th.from * h.dilation - image.row) * x_row;
  }
  const T* const weights = task.w +
                           taps_before(p, d, h, w) * p.c * lanes * (task.block_end - task.block) +
                           td.from * a.w_depth + th.from * a.w_row;
  T* const y = task.y + row * axis[2].out * outputs;
  // BlockPlan inside tiles read short pieces of many lines, which no processor foresees: where the
  // arrays are large, the lines that the next tile adds are asked for while this one is computed.
  const int64_t image_bytes = axis[0].size * x_depth * static_cast<int64_t>(sizeof(T));
  a.ahead = !wide(b.mode) && image_bytes > kPrefetchFromBytes && a.rows > 0 && a.depths > 0;
  a.ahead_rows = smaller(a.rows, h.stride * (two ? 2 : 1));
  a.ahead_pixels = width * w.stride;
  a.ahead_channels = channels;
  a.ahead_x = (a.depths - 1) * a.x_depth + (a.rows - 1) * a.x_row + a.ahead_pixels * channels +
              smaller(w.taps - 1, a.ahead_pixels) * w.dilation * channels;

  for (int64_t from = 0; from < w.count; from += width) {
    const int64_t t = smaller(from, w.count - width);  // the last tile overlaps the one before
    const int64_t first = w.base + t * w.stride;
    const bool is_odd = w.up == 2 && (first & 1);
    a.first = w.up == 2 ? first >> 1 : first;
    const int pixels = shape.taps ? pixels_of(width, shape.taps, shape.stride + is_odd) : 0;
    const Taps there = taps_inside(a.first, pixel, pixels, a.size);
    a.inside = (int64_t{1} << there.to) - (int64_t{1} << there.from);
    for (int64_t i = block; i < block_end; i += a.blocks) {
      const ChannelBlock part = block_of(p, b, i);
      a.origin = in_rows + a.first * channels + part.x - image.first;
      a.nx = image.first + channels - part.x;
      a.ny = part.ny;
      a.w = weights + (i - task.block) * per_block;
      a.bias = task.bias + (i - task.block) * lanes * k_split(b.mode);
      a.y = y + (w.first + t * w.step) * outputs + part.y;
      a.blocks = 1;
      if (!wide(b.mode)) {
        a.blocks = block_end - i;
        a.ny = outputs - part.y;
      }
      (is_odd ? odd : kernel)(a);
    }
  }
}

// Rows [row, row_end) of one image: two rows of each phase at a time, of one depth.
template <class T>
void forward_image(const ForwardTask<T>& task, const Image<T>& image, int64_t row, int64_t row_end,
                   int64_t block, int64_t block_end) {
  const Axis* const axis = task.problem->axis;
  const int64_t step = axis[1].phases;
  while (row < row_end) {
    const int64_t plane_end = smaller((row / axis[1].out + 1) * axis[1].out, row_end);
    for (int64_t f = row; f < smaller(row + step, plane_end); ++f) {
      const Phase& h = axis[1].phase[f % axis[1].out % step];
      const Phase& d = axis[0].phase[f / axis[1].out % axis[0].out % axis[0].phases];
      const bool more = f + step < plane_end, two = more && h.dilation == 1;
      for (int64_t i = 0; i < axis[2].phases; ++i) {
        const Phase& w = axis[2].phase[i];
        forward_row(task, image, d, h, w, f, two, block, block_end);
        if (more && !two) forward_row(task, image, d, h, w, f + step, false, block, block_end);
      }
    }
    row = smaller(row + 2 * step, plane_end);
  }
}

// Input rows that the outputs [row, row_end) of one image read: all of them where there is depth.
inline Taps input_rows(const Axis* axis, int64_t row, int64_t row_end) {
  const Axis& h = axis[1];
  if (axis[0].size != 1 || axis[0].out != 1) return {0, h.size};
  Taps in{h.size, 0};
  for (int64_t p = row; p < row_end; ++p) {
    const Phase& f = h.phase[p % h.phases];
    const int64_t base = f.base + p / h.phases * f.stride;
    const Taps t = taps_inside(base, f.dilation, f.taps, h.size);
    if (t.from == t.to) continue;
    in.from = smaller(in.from, base + t.from * f.dilation);
    const int64_t to = base + (t.to - 1) * f.dilation + 1;
    if (to > in.to) in.to = to;
  }
  if (in.from > in.to) in.from = in.to;
  return in;
}

// Kernels of one tap that move by one: where the pixels of outputs follow each other, so do theirs.
inline bool one_row(const Problem& p) {
  for (const Axis& a : p.axis) {
    if (a.kernel != 1 || a.stride != 1 || a.lhs_dilation != 1 || a.low != 0 || a.out != a.size)
      return false;
  }
  return true;
}

template <class T>
void forward(const ForwardTask<T>& task) {
  const Problem& p = *task.problem;
  if (p.axis[0].out * p.axis[1].out > 1 && task.copied == nullptr && one_row(p)) {
    const int64_t width = p.axis[2].out,
                  band = task.band * width < kMinBandPixels ? kMinBandPixels : task.band * width;
    const int64_t end = task.row_end * width;
    Problem flat = p;
    Phase phase = p.axis[2].phase[0];
    Axis& w = flat.axis[2];
    w.phase = &phase;
    flat.axis[0].size = flat.axis[0].out = flat.axis[1].size = flat.axis[1].out = 1;
    ForwardTask<T> row = task;
    row.problem = &flat;
    row.row = 0;
    row.row_end = 1;
    for (int64_t at = task.row * width; at < end; at += band) {
      w.size = w.out = phase.count = smaller(band, end - at);
      row.x = task.x + at * p.groups * p.c;
      row.y = task.y + at * p.groups * p.o;
      forward(row);
    }
    return;
  }
  const Axis* const axis = p.axis;
  const int64_t pixels = axis[0].size * axis[1].size * axis[2].size;
  const int64_t channels = p.groups * p.c, rows = axis[0].out * axis[1].out;
  // the channels of these blocks
  const bool broadcast = wide(task.blocks->mode);
  const ChannelBlock last = block_of(p, *task.blocks, task.block_end - 1);
  const int64_t first = block_of(p, *task.blocks, task.block).x;
  const int64_t count = last.x - first + (broadcast ? p.c : last.nx);
  for (int64_t row = task.row, row_end; row < task.row_end; row = row_end) {
    const int64_t n = row / rows;
    row_end = smaller((n + 1) * rows, task.row_end);
    row_end = smaller(row_end, row + task.band);
    Image<T> image{task.x + n * pixels * channels, channels, 0, 0};
    if (task.copied != nullptr) {
      const Taps in = input_rows(axis, row - n * rows, row_end - n * rows);
      const int64_t width = pixels / axis[1].size;  // of all there is, where there is depth
      image = {task.copied, count, first, in.from};
      copy_channels(task.x + n * pixels * channels + in.from * width * channels + first,
                    (in.to - in.from) * width, channels, count, task.copied);
    }
    for (int64_t block = task.block; block < task.block_end; block += task.blocks_in_l1) {
      forward_image(task, image, row, row_end, block,
                    smaller(block + task.blocks_in_l1, task.block_end));
    }
  }
}

}  // namespace JG_ISA
}  // namespace jaxgroups
