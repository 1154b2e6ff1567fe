// Vectors of one instruction set: the only file that knows intrinsics.
//
// This file, and all that includes it, is compiled once for each instruction set, with the macro
// JG_ISA naming the namespace. Nothing here may use inline functions of the standard library: the
// linker keeps one copy of those, and it might be the one with instructions a processor lacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#define JG_VECTOR_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define JG_VECTOR_BYTES 32
#else
#define JG_VECTOR_BYTES 16
#endif

#define JG_INLINE inline __attribute__((always_inline))
#define JG_LAMBDA __attribute__((always_inline))

namespace jaxgroups {
namespace JG_ISA {

template <class T>
struct Vec {
  static constexpr int lanes = JG_VECTOR_BYTES / sizeof(T);
  typedef T type __attribute__((vector_size(JG_VECTOR_BYTES)));
  typedef T unaligned __attribute__((vector_size(JG_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
};

template <class T>
using V = typename Vec<T>::type;

template <class T>
JG_INLINE V<T> load(const T* p) {
  return *reinterpret_cast<const typename Vec<T>::unaligned*>(p);
}

template <class T>
JG_INLINE void store(T* p, V<T> v) {
  *reinterpret_cast<typename Vec<T>::unaligned*>(p) = v;
}

template <class T>
JG_INLINE V<T> broadcast(T x) {
  return x - V<T>{};  // not x + 0, which turns -0 to 0 and so costs an addition
}

// Makes the compiler take `n` as it is here. Without it, addresses and conditions of an unrolled
// loop are computed before the loop, all at once, and then live on the stack.
JG_INLINE void opaque(int64_t& n) { asm volatile("" : "+r"(n)); }

// Asks for the cache line `offset` elements from `p`, which may be outside the array.
template <bool Write, class T>
JG_INLINE void prefetch(const T* p, int64_t offset) {
  __builtin_prefetch((const void*)((uintptr_t)p + (uintptr_t)offset * sizeof(T)), Write ? 1 : 0);
}

// The first `n` lanes, zeros in the others; memory behind them is not touched.
template <class T>
JG_INLINE V<T> load_first(const T* p, int n) {
  if (n >= Vec<T>::lanes) return load(p);
  V<T> v{};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}

template <class T>
JG_INLINE void store_first(T* p, V<T> v, int n) {
  if (n >= Vec<T>::lanes) return store(p, v);
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

// Lane i of the result is lane index[i] of the memory at p, of which the first `n` may be read.
template <class T>
JG_INLINE V<T> gather_near(const T* p, const int32_t* index, int) {
  V<T> v{};
  for (int i = 0; i < Vec<T>::lanes; ++i) v[i] = p[index[i]];
  return v;
}

#if JG_VECTOR_BYTES == 64
JG_INLINE uint32_t first_bits(int n) { return _bzhi_u32(0xffff, n < 0 ? 0 : n); }
template <>
JG_INLINE V<float> load_first(const float* p, int n) {
  return (V<float>)_mm512_maskz_loadu_ps((__mmask16)first_bits(n), p);
}
template <>
JG_INLINE V<double> load_first(const double* p, int n) {
  return (V<double>)_mm512_maskz_loadu_pd((__mmask8)first_bits(n), p);
}
template <>
JG_INLINE void store_first(float* p, V<float> v, int n) {
  _mm512_mask_storeu_ps(p, (__mmask16)first_bits(n), (__m512)v);
}
template <>
JG_INLINE void store_first(double* p, V<double> v, int n) {
  _mm512_mask_storeu_pd(p, (__mmask8)first_bits(n), (__m512d)v);
}
template <>
JG_INLINE V<float> gather_near(const float* p, const int32_t* index, int n) {
  return (V<float>)_mm512_permutexvar_ps(_mm512_loadu_si512(index), (__m512)load_first(p, n));
}
template <>
JG_INLINE V<double> gather_near(const double* p, const int32_t* index, int n) {
  const __m512i i = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)index));
  return (V<double>)_mm512_permutexvar_pd(i, (__m512d)load_first(p, n));
}
#elif JG_VECTOR_BYTES == 32
JG_INLINE __m256i first8(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
template <>
JG_INLINE V<float> load_first(const float* p, int n) {
  return n >= 8 ? load(p) : (V<float>)_mm256_maskload_ps(p, first8(n));
}
template <>
JG_INLINE V<double> load_first(const double* p, int n) {
  return n >= 4 ? load(p) : (V<double>)_mm256_maskload_pd(p, first8(2 * n));
}
template <>
JG_INLINE V<float> gather_near(const float* p, const int32_t* index, int n) {
  const __m256i i = _mm256_loadu_si256((const __m256i*)index);
  return (V<float>)_mm256_permutevar8x32_ps((__m256)load_first(p, n), i);
}
template <>
JG_INLINE void store_first(float* p, V<float> v, int n) {
  if (n >= 8) return store(p, v);
  _mm256_maskstore_ps(p, first8(n), (__m256)v);
}
#endif

// f(std::integral_constant-like index) for 0 <= i < N, unrolled by the front end, so that arrays
// of vectors indexed by it are kept in registers.
template <int I>
struct Index {
  static constexpr int value = I;
  constexpr operator int() const { return I; }
};

template <class F, int... I>
JG_INLINE void unroll_over(F&& f, std::integer_sequence<int, I...>) {
  (f(Index<I>{}), ...);
}

template <int N, class F>
JG_INLINE void unroll(F&& f) {
  unroll_over(f, std::make_integer_sequence<int, N>{});
}

}  // namespace JG_ISA
}  // namespace jaxgroups
