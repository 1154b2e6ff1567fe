// Vectors of one instruction set: the only file that knows intrinsics.
//
// This file, and all that includes it, is compiled once for each instruction set, with the macro
// JG_ISA naming the namespace. Nothing here may use inline functions of the standard library: the
// linker keeps one copy of those, and it might be the one with instructions a processor lacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "geometry.h"

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

// Unrolls the next loop completely, so that arrays of vectors indexed by its counter are kept in
// registers. Every such loop has fewer than 64 iterations.
#if defined(__clang__)
#define JG_UNROLL _Pragma("clang loop unroll(full)")
#else
#define JG_UNROLL _Pragma("GCC unroll 64")
#endif

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

// A pointer that moves through `stride` elements at a time, over an unrolled loop. Three positions
// share one base register, as x86 addresses scale an index by 1 or 2. It is kept as a number: some
// positions may lie outside the array, and these are not read.
template <class T>
struct Walk {
  int64_t base;
  const int64_t step, three;
  JG_INLINE Walk(const T* from, int64_t offset, int64_t distance)
      : base((int64_t)from + offset * (int64_t)sizeof(T)),
        step(distance * (int64_t)sizeof(T)),
        three(3 * step) {}
  // Position n; the loop calls `pass(n)` at the end of iteration n.
  JG_INLINE const T* at(int n) const { return (const T*)(base + n % 3 * step); }
  JG_INLINE void pass(int n) {
    if (n % 3 == 2) {
      base += three;
      opaque(base);
    }
  }
};

// Asks for the cache line `offset` elements from `p`, which may be outside the array.
template <bool Write, class T>
JG_INLINE void prefetch(const T* p, int64_t offset) {
  __builtin_prefetch((const void*)((uintptr_t)p + (uintptr_t)offset * sizeof(T)), Write ? 1 : 0);
}

// The first so many lanes of a vector. Made before a loop and kept in a register: `load_some` gives
// zeros in the other lanes, `store_some` leaves them, and neither touches memory behind them.
template <class T>
struct Some {
  int n;
  explicit JG_INLINE Some(int count) : n(count) {}
};

// An order of lanes, by a table: lane i is what lane index[i] was.
template <class T>
struct Order {
  const int32_t* index;
  explicit JG_INLINE Order(const int32_t* table) : index(table) {}
};

template <class T>
JG_INLINE V<T> load_some(const T* p, Some<T> some) {
  if (some.n >= Vec<T>::lanes) return load(p);
  V<T> v{};
  for (int i = 0; i < some.n; ++i) v[i] = p[i];
  return v;
}

template <class T>
JG_INLINE void store_some(T* p, V<T> v, Some<T> some) {
  if (some.n >= Vec<T>::lanes) return store(p, v);
  for (int i = 0; i < some.n; ++i) p[i] = v[i];
}

template <class T>
JG_INLINE V<T> ordered(V<T> x, Order<T> order) {
  V<T> v{};
  for (int i = 0; i < Vec<T>::lanes; ++i) v[i] = x[order.index[i]];
  return v;
}

#if JG_VECTOR_BYTES == 64
struct Mask {
  __mmask16 bits;
  explicit JG_INLINE Mask(int n) : bits((__mmask16)_bzhi_u32(0xffff, n < 0 ? 0 : n)) {
    asm volatile("" : "+k"(bits));
  }
};
template <>
struct Some<float> : Mask {
  using Mask::Mask;
};
template <>
struct Some<double> : Mask {
  using Mask::Mask;
};
template <>
struct Order<float> {
  __m512i index;
  explicit JG_INLINE Order(const int32_t* table) : index(_mm512_loadu_si512(table)) {}
};
template <>
struct Order<double> {
  __m512i index;
  explicit JG_INLINE Order(const int32_t* table)
      : index(_mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)table))) {}
};
template <>
JG_INLINE V<float> load_some(const float* p, Some<float> some) {
  return (V<float>)_mm512_maskz_loadu_ps(some.bits, p);
}
template <>
JG_INLINE V<double> load_some(const double* p, Some<double> some) {
  return (V<double>)_mm512_maskz_loadu_pd((__mmask8)some.bits, p);
}
template <>
JG_INLINE void store_some(float* p, V<float> v, Some<float> some) {
  _mm512_mask_storeu_ps(p, some.bits, (__m512)v);
}
template <>
JG_INLINE void store_some(double* p, V<double> v, Some<double> some) {
  _mm512_mask_storeu_pd(p, (__mmask8)some.bits, (__m512d)v);
}
template <>
JG_INLINE V<float> ordered<float>(V<float> x, Order<float> order) {
  return (V<float>)_mm512_permutexvar_ps(order.index, (__m512)x);
}
template <>
JG_INLINE V<double> ordered<double>(V<double> x, Order<double> order) {
  return (V<double>)_mm512_permutexvar_pd(order.index, (__m512d)x);
}
#elif JG_VECTOR_BYTES == 32
JG_INLINE __m256i first8(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
template <>
struct Order<float> {
  __m256i index;
  explicit JG_INLINE Order(const int32_t* table)
      : index(_mm256_loadu_si256((const __m256i*)table)) {}
};
template <>
JG_INLINE V<float> load_some(const float* p, Some<float> some) {
  return some.n >= 8 ? load(p) : (V<float>)_mm256_maskload_ps(p, first8(some.n));
}
template <>
JG_INLINE V<double> load_some(const double* p, Some<double> some) {
  return some.n >= 4 ? load(p) : (V<double>)_mm256_maskload_pd(p, first8(2 * some.n));
}
template <>
JG_INLINE void store_some(float* p, V<float> v, Some<float> some) {
  if (some.n >= 8) return store(p, v);
  _mm256_maskstore_ps(p, first8(some.n), (__m256)v);
}
template <>
JG_INLINE V<float> ordered<float>(V<float> x, Order<float> order) {
  return (V<float>)_mm256_permutevar8x32_ps((__m256)x, order.index);
}
#endif

// Outputs that have `F` lanes each: `repeated`, `F` numbers over and over; `times`, lane l is what
// lane l / F was; `folded`, lane l, l < lanes / F, is the sum of `F` lanes from F l on.
template <int F, class T>
JG_INLINE V<T> repeated(const T* p) {
  static_assert(F == 1);
  return broadcast(*p);
}
template <int F, class T>
JG_INLINE V<T> times(V<T> x) {
  static_assert(F == 1);
  return x;
}
template <int F, class T>
JG_INLINE V<T> folded(V<T> x) {
  static_assert(F == 1);
  return x;
}
#if JG_VECTOR_BYTES == 64
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
JG_INLINE V<float> folded<2, float>(V<float> x) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
  x += (V<float>)_mm512_permute_ps((__m512)x, 0xb1);
  return (V<float>)_mm512_permutexvar_ps(from, (__m512)x);
}
template <>
JG_INLINE V<float> folded<4, float>(V<float> x) {
  const __m512i from = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  x += (V<float>)_mm512_permute_ps((__m512)x, 0xb1);
  x += (V<float>)_mm512_permute_ps((__m512)x, 0x4e);
  return (V<float>)_mm512_permutexvar_ps(from, (__m512)x);
}
#endif

// What a kernel reads of input pixels: one object for each channel of a group
// (or so many as `fold` says). Pixels are handed
// over with `start` of that channel added. `Full`: depthwise, and all lanes are there.
template <Spread S, class T, bool Full = false>
struct Reader {
  static_assert(wide(S));
  JG_INLINE Reader(Some<T>, const int32_t*, int64_t) {}
  static JG_INLINE int64_t start(int64_t channel) { return channel * fold(S); }
  JG_INLINE V<T> operator()(const T* pixel) const { return repeated<fold(S), T>(pixel); }
};

template <class T, bool Full>
struct Reader<Spread::lanes, T, Full> {
  Some<T> some;
  JG_INLINE Reader(Some<T> channels, const int32_t*, int64_t) : some(channels) {}
  static JG_INLINE int64_t start(int64_t) { return 0; }
  JG_INLINE V<T> operator()(const T* pixel) const { return Full ? load(pixel) : load_some(pixel, some); }
};

template <class T, bool Full>
struct Reader<Spread::near, T, Full> {
  Some<T> some;
  Order<T> order;
  JG_INLINE Reader(Some<T> channels, const int32_t* near, int64_t channel)
      : some(channels), order(near + channel * Vec<T>::lanes) {}
  static JG_INLINE int64_t start(int64_t) { return 0; }
  JG_INLINE V<T> operator()(const T* pixel) const {
    return ordered<T>(load_some(pixel, some), order);
  }
};

}  // namespace JG_ISA
}  // namespace jaxgroups
