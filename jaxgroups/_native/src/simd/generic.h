// Masks, permutations and k_split for any vector: plain loops over lanes. The headers of
// instruction sets beside this one specialise them. Included by simd.h alone.
#pragma once

namespace jaxgroups {
namespace JG_ISA {

// Selects the first `n` lanes of a vector. It is made before a loop and kept in a register.
// `load_masked` gives zeros in the other lanes and `store_masked` leaves them as they are. Neither
// touches memory behind the selected lanes.
template <class T>
struct Mask {
  int n;
  explicit JG_INLINE Mask(int count) : n(count) {}
};

// A permutation of lanes: lane i of the result is lane index[i] of the source.
template <class T>
struct LaneIndices {
  const int32_t* index;
  explicit JG_INLINE LaneIndices(const int32_t* table) : index(table) {}
};

template <class T>
JG_INLINE V<T> load_masked(const T* p, Mask<T> some) {
  if (some.n >= Vec<T>::lanes) return load(p);
  V<T> v{};
  for (int i = 0; i < some.n; ++i) v[i] = p[i];
  return v;
}

template <class T>
JG_INLINE void store_masked(T* p, V<T> v, Mask<T> some) {
  if (some.n >= Vec<T>::lanes) return store(p, v);
  for (int i = 0; i < some.n; ++i) p[i] = v[i];
}

template <class T>
JG_INLINE V<T> permute(V<T> x, LaneIndices<T> order) {
  V<T> v{};
  for (int i = 0; i < Vec<T>::lanes; ++i) v[i] = x[order.index[i]];
  return v;
}

// For outputs that have F lanes each (k_split = F). `repeated`: F numbers, over and over. `times`:
// lane l is lane l / F of the source. `sum_split`: lane l, l < lanes / F, is the sum of F lanes
// from F l on.
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
JG_INLINE V<T> sum_split(V<T> x) {
  static_assert(F == 1);
  return x;
}

}  // namespace JG_ISA
}  // namespace jaxgroups
