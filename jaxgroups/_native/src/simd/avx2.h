// AVX2 with FMA and BMI2. Included by simd.h alone.
#pragma once

#include <immintrin.h>

namespace jaxgroups {
namespace JG_ISA {

JG_INLINE __m256i first8(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
template <>
struct LaneIndices<float> {
  __m256i index;
  explicit JG_INLINE LaneIndices(const int32_t* table)
      : index(_mm256_loadu_si256((const __m256i*)table)) {}
};
template <>
JG_INLINE V<float> load_masked(const float* p, Mask<float> some) {
  return some.n >= 8 ? load(p) : (V<float>)_mm256_maskload_ps(p, first8(some.n));
}
template <>
JG_INLINE V<double> load_masked(const double* p, Mask<double> some) {
  return some.n >= 4 ? load(p) : (V<double>)_mm256_maskload_pd(p, first8(2 * some.n));
}
template <>
JG_INLINE void store_masked(float* p, V<float> v, Mask<float> some) {
  if (some.n >= 8) return store(p, v);
  _mm256_maskstore_ps(p, first8(some.n), (__m256)v);
}
template <>
JG_INLINE V<float> permute<float>(V<float> x, LaneIndices<float> order) {
  return (V<float>)_mm256_permutevar8x32_ps((__m256)x, order.index);
}

}  // namespace JG_ISA
}  // namespace jaxgroups
