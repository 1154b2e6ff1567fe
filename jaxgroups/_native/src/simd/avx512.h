// AVX-512 with VL, DQ and BW. Included by simd.h alone.
#pragma once

#include <immintrin.h>

namespace jaxgroups {
namespace JG_ISA {

struct MaskBits {
  __mmask16 bits;
  explicit JG_INLINE MaskBits(int n) : bits((__mmask16)_bzhi_u32(0xffff, n < 0 ? 0 : n)) {
    asm volatile("" : "+k"(bits));
  }
};
template <>
struct Mask<float> : MaskBits {
  using MaskBits::MaskBits;
};
template <>
struct Mask<double> : MaskBits {
  using MaskBits::MaskBits;
};
template <>
struct LaneIndices<float> {
  __m512i index;
  explicit JG_INLINE LaneIndices(const int32_t* table) : index(_mm512_loadu_si512(table)) {}
};
template <>
struct LaneIndices<double> {
  __m512i index;
  explicit JG_INLINE LaneIndices(const int32_t* table)
      : index(_mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)table))) {}
};
template <>
JG_INLINE V<float> load_masked(const float* p, Mask<float> some) {
  return (V<float>)_mm512_maskz_loadu_ps(some.bits, p);
}
template <>
JG_INLINE V<double> load_masked(const double* p, Mask<double> some) {
  return (V<double>)_mm512_maskz_loadu_pd((__mmask8)some.bits, p);
}
template <>
JG_INLINE void store_masked(float* p, V<float> v, Mask<float> some) {
  _mm512_mask_storeu_ps(p, some.bits, (__m512)v);
}
template <>
JG_INLINE void store_masked(double* p, V<double> v, Mask<double> some) {
  _mm512_mask_storeu_pd(p, (__mmask8)some.bits, (__m512d)v);
}
template <>
JG_INLINE V<float> permute<float>(V<float> x, LaneIndices<float> order) {
  return (V<float>)_mm512_permutexvar_ps(order.index, (__m512)x);
}
template <>
JG_INLINE V<double> permute<double>(V<double> x, LaneIndices<double> order) {
  return (V<double>)_mm512_permutexvar_pd(order.index, (__m512d)x);
}

template <>
JG_INLINE V<float> repeated<2, float>(const float* p) {
  return (V<float>)_mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)p));
}
template <>
JG_INLINE V<float> repeated<4, float>(const float* p) {
  return (V<float>)_mm512_broadcast_f32x4(_mm_loadu_ps(p));
}
template <>
JG_INLINE V<float> times<2, float>(V<float> x) {
  const __m512i from = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return (V<float>)_mm512_permutexvar_ps(from, (__m512)x);
}
template <>
JG_INLINE V<float> times<4, float>(V<float> x) {
  const __m512i from = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return (V<float>)_mm512_permutexvar_ps(from, (__m512)x);
}
template <>
JG_INLINE V<float> sum_split<2, float>(V<float> x) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
  x += (V<float>)_mm512_permute_ps((__m512)x, 0xb1);
  return (V<float>)_mm512_permutexvar_ps(from, (__m512)x);
}
template <>
JG_INLINE V<float> sum_split<4, float>(V<float> x) {
  const __m512i from = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  x += (V<float>)_mm512_permute_ps((__m512)x, 0xb1);
  x += (V<float>)_mm512_permute_ps((__m512)x, 0x4e);
  return (V<float>)_mm512_permutexvar_ps(from, (__m512)x);
}

}  // namespace JG_ISA
}  // namespace jaxgroups
