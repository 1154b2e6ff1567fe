// Rows of a forward convolution: cuts them into tiles and calls the kernel of each.
#pragma once

#include "kernels/copy_channels.h"
#include "kernels/epilogue.h"
#include "kernels/forward_kernels.h"

namespace jaxgroups {
namespace JG_ISA {

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
  a.x_depth = a.depths > 1 ? d.dilation * x_depth : 0;  // unused strides might overflow
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

  const Finish<T> finish = finish_of(*task.epilogue);
  a.clipped = task.epilogue->clip_alone();
  a.low = task.epilogue->alpha;
  a.high = task.epilogue->beta;
  const ChannelBlock foremost = block_of(p, b, block), last = block_of(p, b, block_end - 1);

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
    if (finish != nullptr) {  // the channels of blocks follow each other
      T* const tile = y + (w.first + t * w.step) * outputs + foremost.y;
      const int64_t finished = last.y + last.ny - foremost.y;
      finish(*task.epilogue, tile, width, a.y_pixel, finished);
      if (two) finish(*task.epilogue, tile + a.y_row, width, a.y_pixel, finished);
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

// Columns whose input stays in the second cache, if it is one row and several blocks pass over it;
// otherwise all of them.
template <class T>
int64_t columns_cached(const ForwardTask<T>& task) {
  const Problem& p = *task.problem;
  const Axis& w = p.axis[2];
  const bool passes = task.block_end - task.block > task.blocks_in_l1;
  if (!passes || task.copied != nullptr || w.phases > 1 || p.axis[0].out * p.axis[1].out > 1)
    return w.out;
  const int64_t bytes = p.groups * p.c * w.phase[0].stride * static_cast<int64_t>(sizeof(T));
  const int64_t columns = kBandBytes / bytes;
  return columns < kMinBandPixels ? kMinBandPixels : columns;
}

template <class T>
void forward(const ForwardTask<T>& task) {
  const Problem& p = *task.problem;
  const bool all_columns = task.column == 0 && task.column_end == p.axis[2].out;
  if (p.axis[0].out * p.axis[1].out > 1 && task.copied == nullptr && all_columns && one_row(p)) {
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
    row.column = 0;
    for (int64_t at = task.row * width; at < end; at += band) {
      w.size = w.out = phase.count = row.column_end = smaller(band, end - at);
      row.x = task.x + at * p.groups * p.c;
      row.y = task.y + at * p.groups * p.o;
      forward(row);
    }
    return;
  }
  // Some of the columns, as the only ones that there are. Where the blocks pass several times over
  // a row, they do so over a part of it that stays in the second cache.
  const int64_t band = columns_cached(task);
  if (!all_columns || band < p.axis[2].phase[0].count) {
    Problem some = p;
    Phase phase = p.axis[2].phase[0];
    some.axis[2].phase = &phase;
    ForwardTask<T> part = task;
    part.problem = &some;
    part.column = 0;
    part.column_end = some.axis[2].out;
    for (int64_t from = task.column; from < task.column_end; from += band) {
      phase.first = from;
      phase.base = p.axis[2].phase[0].base + from * phase.stride;
      phase.count = smaller(band, task.column_end - from);
      forward(part);
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
