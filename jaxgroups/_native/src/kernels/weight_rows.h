// Rows of a weight gradient: strips of rows that stay in the first cache while all tap rows and
// channels of a block pass over them.
#pragma once

#include "kernels/forward_rows.h"
#include "kernels/weight.h"
#include "runtime/kernel_table.h"

namespace jaxgroups {
namespace JG_ISA {

// Taps, tap rows and channels of a kernel; it covers `count` of each, what is left is done singly.
struct KernelShape {
  int taps, rows, channels;
};

template <class T>
using StripKernel = void (*)(const RowStrip<T>&);

template <class T, InputMode S, int Taps, int Stride, int Rows, int Channels, int Vectors>
StripKernel<T> made(KernelShape& c) {
  c = {Taps, Rows, Channels};
  return Gradient<T, S, Taps, Stride, Rows, Channels, Vectors>::run;
}

// The kernel that takes most of `taps` x `rows` x `channels` at once without running out of
// registers.
template <class T, InputMode S, int Vectors>
StripKernel<T> pick(Shape shape, int64_t rows, int64_t channels, KernelShape& c) {
  if constexpr (S == InputMode::depthwise) {
    if constexpr (kSpecial<T>) {
      if (shape.is(3, 1)) {
        if (rows >= 3) return made<T, S, 3, 1, 3, 1, 1>(c);
        return made<T, S, 3, 1, 1, 1, 1>(c);
      }
      if (shape.is(3, 2)) {
        if (rows >= 3) return made<T, S, 3, 2, 3, 1, 1>(c);
        return made<T, S, 3, 2, 1, 1, 1>(c);
      }
      if (shape.is(5, 1)) {
        if (rows >= 2) return made<T, S, 5, 1, 2, 1, 1>(c);
        return made<T, S, 5, 1, 1, 1, 1>(c);
      }
      if (shape.is(5, 2)) {
        if (rows >= 2) return made<T, S, 5, 2, 2, 1, 1>(c);
        return made<T, S, 5, 2, 1, 1, 1>(c);
      }
      if (shape.is(7, 1)) return made<T, S, 7, 1, 1, 1, 1>(c);
    }
    if (rows >= 4) return made<T, S, 1, 1, 4, 1, 1>(c);
    return made<T, S, 1, 1, 1, 1, 1>(c);
  } else {
    // twelve sums, or 24: several for each load
    constexpr int few = Vectors == 1 ? 4 : 2, single = 12 / Vectors > 8 ? 8 : 12 / Vectors;
    constexpr bool special = kSpecial<T> && (Vectors < 3 || (Vectors == 3 && kHasKSplit<T>));
    if constexpr (special) {
      if (shape.is(3, 1) && channels >= few) return made<T, S, 3, 1, 1, few, Vectors>(c);
      if (shape.is(3, 1)) return made<T, S, 3, 1, 1, 1, Vectors>(c);
      if (shape.is(3, 2) && channels >= few) return made<T, S, 3, 2, 1, few, Vectors>(c);
      if (shape.is(3, 2)) return made<T, S, 3, 2, 1, 1, Vectors>(c);
    }
    constexpr int most = 24 / Vectors > 8 ? 8 : 24 / Vectors;
    if (kManyRegisters && channels >= most) return made<T, S, 1, 1, 1, most, Vectors>(c);
    if (channels >= single) return made<T, S, 1, 1, 1, single, Vectors>(c);
    return made<T, S, 1, 1, 1, 1, Vectors>(c);
  }
}

// As `tile_kernel`: an object for each mode.
template <class T, InputMode S>
StripKernel<T> strip_kernel(const BlockPlan& b, Shape shape, int64_t rows, int64_t channels,
                            KernelShape& c) {
  if constexpr (wide(S)) {
    if constexpr (kManyRegisters) {
      if (b.vectors == 5) return pick<T, S, 5>(shape, rows, channels, c);
    }
    if (b.vectors == 3) return pick<T, S, 3>(shape, rows, channels, c);
    if (b.vectors == 2) return pick<T, S, 2>(shape, rows, channels, c);
  }
  return pick<T, S, 1>(shape, rows, channels, c);
}

template <class T>
StripKernel<T> strip_kernel_of(const BlockPlan& b, Shape shape, int64_t rows, int64_t channels,
                               KernelShape& c) {
  if (b.mode == InputMode::depthwise)
    return strip_kernel<T, InputMode::depthwise>(b, shape, rows, channels, c);
  if (b.mode == InputMode::gather)
    return strip_kernel<T, InputMode::gather>(b, shape, rows, channels, c);
  if constexpr (kHasKSplit<T>) {
    if (b.mode == InputMode::broadcast2)
      return strip_kernel<T, InputMode::broadcast2>(b, shape, rows, channels, c);
    if (b.mode == InputMode::broadcast4)
      return strip_kernel<T, InputMode::broadcast4>(b, shape, rows, channels, c);
  }
  return strip_kernel<T, InputMode::broadcast>(b, shape, rows, channels, c);
}

template <class T>
void weight_block(const WeightTask<T>& task, RowStrip<T> a, const ChannelBlock& part,
                  int64_t index) {
  const Problem& p = *task.problem;
  const BlockPlan& b = *task.blocks;
  const Axis* const axis = p.axis;
  const int64_t lanes = int64_t{b.lanes} * b.vectors;
  const int64_t kh = axis[1].kernel, kw = axis[2].kernel;
  a.x += part.x;
  a.y += part.y;
  a.nx = part.nx;
  a.ny = part.ny;
  const int64_t channels = p.c / k_split(b.mode);  // or pairs of them, or quads
  a.sums_tap = lanes * k_split(b.mode);
  a.sums_channel = kw * a.sums_tap;
  a.sums_row = channels * a.sums_channel;
  T* const sums = task.w + (index - task.block) * axis[0].kernel * kh * a.sums_row;
  const Shape whole = shape_of(axis[2].phase[0]);

  for (int64_t d = 0; d < axis[0].kernel; ++d) {
    a.tap_d = d * axis[0].dilation;
    KernelShape c{1, 1, 1};
    for (int64_t h = 0; h < kh; h += c.rows) {
      a.tap_h = h * axis[1].dilation;
      for (int64_t i = 0; i < channels; i += c.channels) {
        a.channel = i;
        for (int64_t w = 0; w < kw; w += c.taps) {
          StripKernel<T> kernel = strip_kernel_of<T>(b, whole, kh - h, channels - i, c);
          a.column = w * axis[2].dilation - axis[2].low;
          a.first = 0;
          a.last = axis[2].out;
          if (c.taps == 1) {  // outputs whose input, column + p stride, is in the image
            const Taps there = taps_inside(a.column, axis[2].stride, axis[2].out, axis[2].size);
            a.first = there.from;
            a.last = there.to;
          }
          a.x_step = (c.taps == 1 ? axis[2].stride : 1) * a.x_pixel;
          a.sums = sums + (d * kh + h) * a.sums_row + i * a.sums_channel + w * a.sums_tap;
          kernel(a);
        }
      }
    }
  }
}

// Rows [row, row_end), in strips; a.x begins with the image of the first row, a.y with that row.
template <class T, class F>
void strips(const WeightTask<T>& task, RowStrip<T>& a, OutputRow (&rows)[kStripPixels], int64_t row,
            int64_t row_end, const F& each) {
  const Axis* const axis = task.problem->axis;
  const int64_t plane = axis[0].out * axis[1].out, first_image = row / plane, first_row = row;
  const int64_t strip = axis[2].out < kStripPixels ? kStripPixels / axis[2].out : 1;
  for (; row < row_end; row += a.count) {
    a.count = smaller(strip, row_end - row);
    for (int64_t i = 0; i < a.count; ++i) {
      const int64_t r = row + i, oh = r % axis[1].out, od = r / axis[1].out % axis[0].out;
      rows[i] = {(r / plane - first_image) * axis[0].size * a.x_depth,
                 od * axis[0].stride - axis[0].low, oh * axis[1].stride - axis[1].low,
                 (r - first_row) * axis[2].out * a.y_pixel};
    }
    each();
    a.more = true;
  }
}

template <class T>
void weight(const WeightTask<T>& task) {
  const Problem& p = *task.problem;
  const BlockPlan& b = *task.blocks;
  const Axis* const axis = p.axis;
  const int64_t channels = p.groups * p.c, outputs = p.groups * p.o;
  const int64_t pixels = axis[0].size * axis[1].size * axis[2].size;
  const int64_t plane = axis[0].out * axis[1].out;
  OutputRow rows[kStripPixels];
  RowStrip<T> a;
  a.rows = rows;
  a.problem = &p;
  a.near = b.near;
  a.stride = axis[2].stride;
  a.row_step = axis[1].dilation;
  const auto set_strides = [&](int64_t x_pixel, int64_t y_pixel) {
    a.x_pixel = x_pixel;
    a.x_row = axis[2].size * x_pixel;
    a.x_depth = axis[1].size * a.x_row;
    a.y_pixel = y_pixel;
  };
  const int64_t width = smaller(p.o, int64_t{b.lanes} * b.vectors);
  if (worth_a_copy<T>(b, channels, pixels, p.c) && plane * axis[2].out * width <= kCopied) {
    T* const x = task.copied;
    T* const y = task.copied + kCopied;
    for (int64_t i = task.block; i < task.block_end; ++i) {
      const ChannelBlock part = block_of(p, b, i);
      a.more = a.ahead = false;
      for (int64_t row = task.row, row_end; row < task.row_end; row = row_end) {
        const int64_t n = row / plane;
        row_end = smaller((n + 1) * plane, task.row_end);
        copy_channels(task.x + n * pixels * channels + part.x, pixels, channels, p.c, x);
        copy_channels(task.y + row * axis[2].out * outputs + part.y, (row_end - row) * axis[2].out,
                      outputs, part.ny, y);
        set_strides(p.c, part.ny);
        a.x = x;
        a.y = y;
        strips(task, a, rows, row, row_end, [&] {
          weight_block(task, a, {0, 0, part.nx, part.ny}, i);
        });
      }
    }
    return;
  }
  set_strides(channels, outputs);
  a.x = task.x + task.row / plane * pixels * channels;
  a.y = task.y + task.row * axis[2].out * outputs;
  a.more = false;
  strips(task, a, rows, task.row, task.row_end, [&] {
    for (int64_t i = task.block; i < task.block_end; ++i) {
      a.ahead = i + 1 < task.block_end &&
                pixels * channels * static_cast<int64_t>(sizeof(T)) > kPrefetchFromBytes;
      weight_block(task, a, block_of(p, b, i), i);
    }
  });
}

}  // namespace JG_ISA
}  // namespace jaxgroups
