// Sums over the rows of a matrix, one for each column: all that normalization needs of a batch. See
// run_channel_sums.
//
// The sums are float64, so that one pass is enough: those of a channel whose mean is large cancel.
#pragma once

#include "runtime/tuning.h"
#include "simd/simd.h"

namespace jaxgroups {
namespace JG_ISA {

// So many numbers as a vector of float64 has lanes, as float64.
template <class T>
JG_INLINE V<double> load_double(const T* p) {
  if constexpr (sizeof(T) == sizeof(double)) {
    return load(p);
  } else {
    using Half __attribute__((vector_size(JG_VECTOR_BYTES / 2), aligned(sizeof(T)), may_alias)) = T;
    return __builtin_convertvector(*reinterpret_cast<const Half*>(p), V<double>);
  }
}

// The sums of a few vectors of columns. A row begins `channels` numbers after the one before.
template <class T, int Vectors, bool Moments>
JG_INLINE void sum_columns(const T* a, const T* b, const T* shift, int64_t rows, int64_t channels,
                           double* sums) {
  constexpr int lanes = Vec<double>::lanes;
  V<double> first[Vectors], second[Vectors], from[Vectors];
  JG_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    first[v] = load(sums + v * lanes);
    second[v] = load(sums + channels + v * lanes);
    from[v] = load_double(shift + v * lanes);
  }
  for (int64_t row = 0; row < rows; ++row) {
    JG_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      if constexpr (Moments) {
        const V<double> x = load_double(a + v * lanes) - from[v];
        first[v] += x;
        second[v] += x * x;
      } else {
        const V<double> x = load_double(a + v * lanes);
        first[v] += x;
        second[v] += x * (load_double(b + v * lanes) - from[v]);
      }
    }
    a += channels;
    b += Moments ? 0 : channels;
  }
  JG_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    store(sums + v * lanes, first[v]);
    store(sums + channels + v * lanes, second[v]);
  }
}

template <class T, bool Moments>
void sum_channels(const T* a, const T* b, const T* shift, int64_t rows, int64_t channels,
                  double* sums) {
  constexpr int lanes = Vec<double>::lanes;
  const int64_t most = kSumsBand / channels > 1 ? kSumsBand / channels : 1;
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = rows - row < most ? rows - row : most;
    const T* const pa = a + row * channels;
    const T* const pb = Moments ? pa : b + row * channels;
    int64_t c = 0;
    for (; c + 4 * lanes <= channels; c += 4 * lanes)
      sum_columns<T, 4, Moments>(pa + c, pb + c, shift + c, count, channels, sums + c);
    for (; c + lanes <= channels; c += lanes)
      sum_columns<T, 1, Moments>(pa + c, pb + c, shift + c, count, channels, sums + c);
    for (; c < channels; ++c) {
      for (int64_t i = c; i < count * channels; i += channels) {
        const double from = static_cast<double>(shift[c]), x = static_cast<double>(pa[i]);
        const double first = Moments ? x - from : x;
        sums[c] += first;
        sums[channels + c] += first * (Moments ? first : static_cast<double>(pb[i]) - from);
      }
    }
  }
}

// Adds to `sums`, which has `channels` numbers and as many again. a and b are (rows, channels),
// `shift` is (channels). With b: the sums of a and of a * (b - shift). Without: those of a - shift
// and of its square.
template <class T>
void channel_sums(const T* a, const T* b, const T* shift, int64_t rows, int64_t channels,
                  double* sums) {
  if (b == nullptr) {
    sum_channels<T, true>(a, b, shift, rows, channels, sums);
  } else {
    sum_channels<T, false>(a, b, shift, rows, channels, sums);
  }
}

}  // namespace JG_ISA
}  // namespace jaxgroups
