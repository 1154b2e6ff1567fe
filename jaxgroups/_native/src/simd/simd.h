// Vectors of one instruction set. The headers beside this one hold its intrinsics, which no other
// file uses.
//
// This file, and all that includes it, is compiled once for each instruction set, with the macro
// JG_ISA naming the namespace. Nothing here may use inline functions of the standard library: the
// linker keeps one copy of those, and it might be the one with instructions a processor lacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "runtime/geometry.h"

#if defined(__AVX512F__)
#define JG_VECTOR_BYTES 64
#elif defined(__AVX2__)
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

// Places the code of the usual case in line. GCC otherwise takes the tests within unrolled loops
// for unlikely and moves their code away, which costs two jumps a pixel.
#define JG_LIKELY(condition) __builtin_expect(static_cast<bool>(condition), 1)

namespace jaxgroups {
namespace JG_ISA {

template <class T>
struct Vec {
  static constexpr int lanes = JG_VECTOR_BYTES / sizeof(T);
  using type __attribute__((vector_size(JG_VECTOR_BYTES))) = T;
  using unaligned __attribute__((vector_size(JG_VECTOR_BYTES), aligned(sizeof(T)), may_alias)) = T;
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
struct StridedPointer {
  int64_t base;
  const int64_t step, three;
  JG_INLINE StridedPointer(const T* from, int64_t offset, int64_t distance)
      : base(reinterpret_cast<int64_t>(from) + offset * static_cast<int64_t>(sizeof(T))),
        step(distance * static_cast<int64_t>(sizeof(T))),
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

}  // namespace JG_ISA
}  // namespace jaxgroups

#include "simd/generic.h"
#if JG_VECTOR_BYTES == 64
#include "simd/avx512.h"
#elif JG_VECTOR_BYTES == 32
#include "simd/avx2.h"
#elif defined(__aarch64__)
#include "simd/neon.h"
#endif

namespace jaxgroups {
namespace JG_ISA {

// What a kernel reads of input pixels: one object for each channel of a group
// (or so many as `k_split` says). Pixels are handed
// over with `start` of that channel added. `Full`: depthwise, and all lanes are there.
template <InputMode S, class T, bool Full = false>
struct Reader {
  static_assert(wide(S));
  JG_INLINE Reader(Mask<T>, const int32_t*, int64_t) {}
  static JG_INLINE int64_t start(int64_t channel) { return channel * k_split(S); }
  JG_INLINE V<T> operator()(const T* pixel) const { return repeated<k_split(S), T>(pixel); }
};

template <class T, bool Full>
struct Reader<InputMode::depthwise, T, Full> {
  Mask<T> some;
  JG_INLINE Reader(Mask<T> channels, const int32_t*, int64_t) : some(channels) {}
  static JG_INLINE int64_t start(int64_t) { return 0; }
  JG_INLINE V<T> operator()(const T* pixel) const {
    return Full ? load(pixel) : load_masked(pixel, some);
  }
};

template <class T, bool Full>
struct Reader<InputMode::gather, T, Full> {
  Mask<T> some;
  LaneIndices<T> order;
  JG_INLINE Reader(Mask<T> channels, const int32_t* near, int64_t channel)
      : some(channels), order(near + channel * Vec<T>::lanes) {}
  static JG_INLINE int64_t start(int64_t) { return 0; }
  JG_INLINE V<T> operator()(const T* pixel) const {
    return permute<T>(load_masked(pixel, some), order);
  }
};

}  // namespace JG_ISA
}  // namespace jaxgroups
