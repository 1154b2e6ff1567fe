// Sums of a batch, channel by channel, over a pool of threads.
//
// The rows of an instance are cut into parts, whose sums are added in order: the result does not
// depend on the number of threads.
#pragma once

#include <cmath>
#include <cstdint>

#include "runtime/kernel_table.h"
#include "runtime/parallel.h"
#include "runtime/scratch_pool.h"

namespace jaxgroups {

// a and b are (instances, rows, channels), the other arrays (instances, channels). With b: `first`
// and `second` become the sums over the rows of a and of a * (b - shift). Without: the mean and the
// biased variance of a; `shift` is not read.
template <class T>
struct ChannelSums {
  int64_t instances, rows, channels;
  const T* a;
  const T* b;
  const T* shift;
  T* first;
  T* second;
};

template <class T>
void run_channel_sums(const KernelsOf<T>& kernels, const Pool& pool, const ChannelSums<T>& call) {
  const int64_t rows = call.rows, channels = call.channels, count = call.instances * channels;
  if (count == 0) return;
  const int64_t fitting = kSumsPart / channels;
  const int64_t most = fitting > kSumsRows ? fitting : kSumsRows;
  const int64_t parts = rows / most + (rows % most != 0);
  const Scratch<double> sums(2 * count * parts);
  const bool moments = call.b == nullptr;
  const Scratch<T> starts(moments ? count : 0);
  // numbers near the mean: a first row that is not finite would spoil all others
  for (int64_t i = 0; moments && rows > 0 && i < count; ++i) {
    const T start = call.a[i / channels * rows * channels + i % channels];
    starts.data[i] = std::isfinite(start) ? start : T(0);
  }
  const T* const shift = moments ? starts.data : call.shift;
  const auto part = [&](int64_t i) {
    const int64_t instance = i / parts, row = i % parts * most;
    const int64_t at = (instance * rows + row) * channels;
    double* const to = sums.data + 2 * channels * i;
    for (int64_t c = 0; c < 2 * channels; ++c) to[c] = 0;
    kernels.channel_sums(call.a + at, moments ? nullptr : call.b + at, shift + instance * channels,
                         rows - row < most ? rows - row : most, channels, to);
  };
  const auto finish = [&](int64_t instance) {
    for (int64_t c = 0; c < channels; ++c) {
      double first = 0, second = 0;
      for (int64_t i = instance * parts; i < (instance + 1) * parts; ++i) {
        first += sums.data[2 * channels * i + c];
        second += sums.data[2 * channels * i + channels + c];
      }
      const int64_t at = instance * channels + c;
      if (moments) {
        const double n = static_cast<double>(rows), mean = first / n,
                     var = second / n - mean * mean;
        first = static_cast<double>(shift[at]) + mean;
        second = var < 0 ? 0 : var;  // not std::max, which would hide a NaN
      }
      call.first[at] = static_cast<T>(first);
      call.second[at] = static_cast<T>(second);
    }
  };
  parallel(pool, call.instances * parts, part, call.instances, finish);
}

}  // namespace jaxgroups
