// Random problems for the kernels, arrays of exactly their size, and plain loops to judge by.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "runtime/problem.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(from, bytes) ((void)0)
#endif

namespace jaxgroups {

inline thread_local std::mt19937 dice;

inline int64_t pick(int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(dice);
}

inline int64_t product(const std::vector<int64_t>& v) {
  int64_t p = 1;
  for (const int64_t n : v) p *= n;
  return p;
}

// An array of exactly `count` numbers on the heap, some numbers away from any alignment. The bytes
// in front of it are poisoned, as far as the sanitizer's grain of 8 bytes allows.
template <class T>
struct Array {
  explicit Array(int64_t count, bool whole = true)
      : shift(pick(0, 15)), bytes(new char[(size_t)(count + shift) * sizeof(T)]), size(count) {
    data = reinterpret_cast<T*>(bytes.get() + (size_t)shift * sizeof(T));
    ASAN_POISON_MEMORY_REGION(bytes.get(), (size_t)shift * sizeof(T) / 8 * 8);
    std::uniform_real_distribution<double> real(-1, 1);
    for (int64_t i = 0; i < count; ++i) data[i] = whole ? (T)pick(-3, 3) : (T)real(dice);
  }
  int64_t shift;
  std::unique_ptr<char[]> bytes;
  int64_t size;
  T* data;
};

// `weight_strides` of the weights, over (*kernel, c, g, o), in an array of `numbers`; none: they
// are in order.
struct Sizes {
  std::vector<int64_t> x, w, y, stride, low, high, dilation, lhs_dilation, weight_strides;
  int64_t groups, c, o, offset, elements;
  bool large;

  Call call() const {
    const auto ints = [](const std::vector<int64_t>& v) {
      return Ints{v.data(), (int64_t)v.size()};
    };
    return {ints(x),        ints(w),
            ints(y),        ints(stride),
            ints(low),      ints(high),
            ints(dilation), ints(lhs_dilation),
            groups,         ints(weight_strides),
            offset,         elements};
  }
  std::vector<std::vector<int64_t>*> all() {
    return {&x, &w, &y, &stride, &low, &high, &dilation, &lhs_dilation, &weight_strides};
  }
};

// The axes of the weights in any order, each in either direction, perhaps with gaps.
inline void draw_weight_strides(Sizes& s) {
  const size_t axes = s.w.size() + 1;
  std::vector<int64_t> sizes(s.w.begin(), s.w.end() - 1);
  sizes.push_back(s.groups);
  sizes.push_back(s.o);
  std::vector<size_t> order(axes);
  for (size_t i = 0; i < axes; ++i) order[i] = i;
  if (pick(0, 3)) std::shuffle(order.begin(), order.end(), dice);
  s.weight_strides.assign(axes, 0);
  s.offset = 0;
  s.elements = 1;
  for (const size_t i : order) {  // the innermost first
    const bool mirrored = pick(0, 1);
    s.weight_strides[i] = mirrored ? -s.elements : s.elements;
    if (mirrored) s.offset += (sizes[i] - 1) * s.elements;
    s.elements = s.elements * (sizes[i] - 1) + s.elements;
    if (pick(0, 9) == 0) s.elements += pick(1, 3);
  }
  const int64_t before = pick(0, 3) ? 0 : pick(1, 5);
  s.offset += before;
  s.elements += before;
}

inline int64_t draw_channels() {
  const int64_t lanes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11, 12,
                           13, 15, 16, 17, 19, 24, 31, 33, 48, 65};
  return lanes[pick(0, pick(0, 3) ? 14 : 20)];
}

// One spatial axis; false where it would have no output.
inline bool draw_axis(Sizes& s, int64_t rank, bool dilated) {
  const int64_t kernel = pick(1, rank == 1 ? 9 : rank == 2 ? 5 : 3);
  const int64_t most = rank == 1 ? 40 : rank == 2 ? 19 : 5;
  const int64_t sizes[] = {1, kernel > 1 ? kernel - 1 : 1, kernel, pick(1, most)};
  const int64_t size = s.large ? most * (rank == 1 ? 20 : 2) : sizes[pick(0, 3)];
  const int64_t stride = pick(0, 1) ? 1 : pick(1, 4);
  int64_t dilation = pick(0, 2) ? 1 : pick(1, 4);
  const int64_t u = !dilated ? 1 : pick(0, 29) ? pick(1, 4) : 4096;
  const int64_t low = pick(-2, kernel + 1);
  int64_t high = pick(-2, kernel + 1);
  if (kernel > 1 && pick(0, 29) == 0) {  // huge, and at most what padding can span
    const int64_t spans[] = {100000, (int64_t{1} << 28) / (kernel - 1) - 9};
    dilation = spans[pick(0, 1)];
    high = (kernel - 1) * dilation + pick(-1, 3);
  }
  const int64_t room = (size - 1) * u + low + high - (kernel - 1) * dilation;
  if (room < 0) return false;
  s.x.push_back(size);
  s.w.push_back(kernel);
  s.y.push_back(room / stride + 1);
  s.stride.push_back(stride);
  s.low.push_back(low);
  s.high.push_back(high);
  s.dilation.push_back(dilation);
  s.lhs_dilation.push_back(u);
  return true;
}

// A problem whose every axis has at least one output; false where the draw had none.
inline bool draw(Sizes& s) {
  const int64_t rank = pick(1, 3);
  s = {};
  s.large = pick(0, 39) == 0;  // enough for several tasks
  s.c = pick(0, 2) == 0 ? 1 : draw_channels();
  s.o = pick(0, 2) == 0 ? s.c : draw_channels();
  s.groups = pick(1, s.c * s.o > 32 ? 3 : 37);
  const int64_t crowded = rank == 2 ? pick(0, 19) : 3;  // pixels 1024 to 4096 bytes apart
  if (crowded == 0) {
    s.c = 32;
    s.o = pick(0, 1) ? 32 : 20;
    s.groups = 32;
  } else if (crowded <= 2) {
    s.c = s.o = crowded;
    s.groups = (pick(0, 1) ? 256 : 512) / crowded;
  }
  s.x.push_back(pick(0, 9) == 0 ? 0 : pick(1, 3));
  s.y.push_back(s.x[0]);
  const bool dilated = pick(0, 2) == 0;
  for (int64_t i = 0; i < rank; ++i) {
    if (!draw_axis(s, rank, dilated)) return false;
  }
  s.x.push_back(s.groups * s.c);
  s.w.push_back(s.c);
  s.w.push_back(s.groups * s.o);
  s.y.push_back(s.groups * s.o);
  s.elements = product(s.w);
  if (pick(0, 1)) draw_weight_strides(s);
  const double work = (double)product(s.y) * (double)product(s.w) / (double)s.w.back();
  return work < (s.large ? 4e6 : 1e6);
}

// Where each of the weights (*kernel, c, g o) is in its array.
inline std::vector<int64_t> places(const Sizes& s) {
  std::vector<int64_t> at((size_t)product(s.w));
  for (size_t k = 0; k < at.size(); ++k) at[k] = (int64_t)k;
  if (s.weight_strides.empty()) return at;
  const int64_t o = s.w.back() / s.groups;
  for (int64_t& place : at) {
    int64_t left = place / s.w.back();
    const int64_t output = place % s.w.back();
    size_t axis = s.weight_strides.size() - 1;
    place =
        s.offset + output % o * s.weight_strides[axis] + output / o * s.weight_strides[axis - 1];
    for (--axis; axis-- > 0; left /= s.w[axis]) place += left % s.w[axis] * s.weight_strides[axis];
  }
  return at;
}

// f(index of x, of w, of y) for every product of the trilinear form.
template <class F>
void each_product(const Problem& p, const F& f) {
  const Axis* const a = p.axis;
  int64_t y = 0;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t pd = 0; pd < a[0].out; ++pd)
      for (int64_t ph = 0; ph < a[1].out; ++ph)
        for (int64_t pw = 0; pw < a[2].out; ++pw, y += p.groups * p.o)
          for (int64_t kd = 0; kd < a[0].kernel; ++kd)
            for (int64_t kh = 0; kh < a[1].kernel; ++kh)
              for (int64_t kw = 0; kw < a[2].kernel; ++kw) {
                const int64_t out[] = {pd, ph, pw}, tap[] = {kd, kh, kw};
                int64_t at = n;
                bool there = true;
                for (int i = 0; i < 3; ++i) {
                  const int64_t in = out[i] * a[i].stride + tap[i] * a[i].dilation - a[i].low;
                  const int64_t u = a[i].lhs_dilation;
                  there = there && in >= 0 && in % u == 0 && in / u < a[i].size;
                  if (there) at = at * a[i].size + in / u;
                }
                if (!there) continue;
                const int64_t k = (kd * a[1].kernel + kh) * a[2].kernel + kw;
                for (int64_t g = 0; g < p.groups; ++g)
                  for (int64_t c = 0; c < p.c; ++c)
                    for (int64_t o = 0; o < p.o; ++o)
                      f((at * p.groups + g) * p.c + c, ((k * p.c + c) * p.groups + g) * p.o + o,
                        y + g * p.o + o);
              }
}

}  // namespace jaxgroups
