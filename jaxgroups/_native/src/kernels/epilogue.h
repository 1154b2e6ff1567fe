// Epilogues of finished tiles. The tiles of all blocks at work are in the first cache when their
// kernels have returned, so they are read again from there, and all kernels share this one code.
// Only a clip without a residual, by far the most frequent, is done by the kernels themselves.
// The tiles of a row may overlap: what the next tile computes anew, it finishes anew.
#pragma once

#include "kernels/forward.h"
#include "runtime/epilogue.h"

namespace jaxgroups {
namespace JG_ISA {

// An integer for each lane.
template <class T>
struct Bits;
template <>
struct Bits<float> {
  using type __attribute__((vector_size(JG_VECTOR_BYTES))) = int32_t;
};

// exp(x), within 2 units in the last place. Cephes' reduction and polynomial.
JG_INLINE V<float> exponential(V<float> x) {
  using I = typename Bits<float>::type;
  const V<float> high = broadcast(104.0f), low = broadcast(-104.0f);  // beyond: infinity and 0
  x = x > high ? high : x;
  x = x < low ? low : x;
  const V<float> shift = broadcast(12582912.0f);  // 1.5 * 2^23: whole numbers in the low bits
  const V<float> shifted = x * 1.44269504f + shift;
  const V<float> n = shifted - shift;
  const V<float> r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V<float> p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // 2^n in two factors, as n may be beyond the exponents of normal numbers
  const I bits = (I)shifted - (I)shift, half = bits >> 1;
  return p * (V<float>)((half + 127) << 23) * (V<float>)((bits - half + 127) << 23);
}

JG_INLINE V<double> exponential(V<double> x) {
  for (int i = 0; i < Vec<double>::lanes; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

template <Activation A, class T>
JG_INLINE V<T> activated(V<T> x, V<T> alpha, V<T> beta) {
  if constexpr (A == Activation::clip) return clipped<T>(x, alpha, beta);
  if constexpr (A == Activation::leaky) return x >= V<T>{} ? x : alpha * x;
  if constexpr (A == Activation::sigmoid) return T{1} / (T{1} + exponential(-x));
  if constexpr (A == Activation::silu) return x / (T{1} + exponential(-x));
  const V<T> six = broadcast(T{6});
  if constexpr (A == Activation::hardsigmoid) return clipped<T>(x + T{3}, V<T>{}, six) / six;
  if constexpr (A == Activation::hardswish) return x * (clipped<T>(x + T{3}, V<T>{}, six) / six);
  return x;
}

template <Activation A, Residual R, class T>
void finish_tile(const Epilogue<T>& e, T* y, int64_t pixels, int64_t apart, int64_t channels) {
  constexpr int L = Vec<T>::lanes;
  const V<T> alpha = broadcast(e.alpha), beta = broadcast(e.beta);
  const int64_t rest = channels % L;
  const Mask<T> some((int)rest);
  const auto finished = [&](V<T> v, V<T> r) {
    if constexpr (R == Residual::before) v += r;
    v = activated<A, T>(v, alpha, beta);
    return R == Residual::after ? v + r : v;
  };
  for (int64_t t = 0; t < pixels; ++t, y += apart) {
    const T* const r = reinterpret_cast<const T*>((uintptr_t)y + (uintptr_t)e.apart);
    int64_t c = 0;
    for (; c < channels - rest; c += L)
      store(y + c, finished(load(y + c), R == Residual::none ? V<T>{} : load(r + c)));
    if (rest == 0) continue;
    const V<T> more = R == Residual::none ? V<T>{} : load_masked<T>(r + c, some);
    store_masked<T>(y + c, finished(load_masked<T>(y + c, some), more), some);
  }
}

template <class T>
using Finish = void (*)(const Epilogue<T>&, T*, int64_t, int64_t, int64_t);

template <Activation A, class T>
Finish<T> finish_of(Residual r) {
  if (r == Residual::before) return finish_tile<A, Residual::before, T>;
  if (r == Residual::after) return finish_tile<A, Residual::after, T>;
  return finish_tile<A, Residual::none, T>;
}

// The function that finishes tiles; null where nothing follows, or the kernels do it.
template <class T>
Finish<T> finish_of(const Epilogue<T>& e) {
  if (e.clip_alone()) return nullptr;
  switch (e.activation) {
    case Activation::clip:
      return finish_of<Activation::clip, T>(e.residual);
    case Activation::leaky:
      return finish_of<Activation::leaky, T>(e.residual);
    case Activation::sigmoid:
      return finish_of<Activation::sigmoid, T>(e.residual);
    case Activation::silu:
      return finish_of<Activation::silu, T>(e.residual);
    case Activation::hardsigmoid:
      return finish_of<Activation::hardsigmoid, T>(e.residual);
    case Activation::hardswish:
      return finish_of<Activation::hardswish, T>(e.residual);
    case Activation::none:
      break;
  }
  return e.empty() ? nullptr : finish_of<Activation::none, T>(e.residual);
}

}  // namespace JG_ISA
}  // namespace jaxgroups
