// A matrix turned over: the weights of an input gradient, which stand with the wrong axis in one
// piece.
#pragma once

#include <cstdint>

namespace jaxgroups {

// Vectors that every processor has: this is compiled once for all.
template <class T>
struct Quarter {
  static constexpr int lanes = 16 / sizeof(T);
  using type __attribute__((vector_size(16))) = T;
  using unaligned __attribute__((vector_size(16), aligned(sizeof(T)), may_alias)) = T;
};

// Numbers of two vectors, counted through both. Compilers differ in the name of it.
#if defined(__clang__)
#define JG_PICK(Integer, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define JG_PICK(Integer, a, b, ...) __builtin_shuffle(a, b, Quarter<Integer>::type{__VA_ARGS__})
#endif

inline void turn(Quarter<float>::type (&v)[4]) {
  const auto a = JG_PICK(int32_t, v[0], v[1], 0, 4, 1, 5),
             b = JG_PICK(int32_t, v[0], v[1], 2, 6, 3, 7);
  const auto c = JG_PICK(int32_t, v[2], v[3], 0, 4, 1, 5),
             d = JG_PICK(int32_t, v[2], v[3], 2, 6, 3, 7);
  v[0] = JG_PICK(int32_t, a, c, 0, 1, 4, 5);
  v[1] = JG_PICK(int32_t, a, c, 2, 3, 6, 7);
  v[2] = JG_PICK(int32_t, b, d, 0, 1, 4, 5);
  v[3] = JG_PICK(int32_t, b, d, 2, 3, 6, 7);
}

inline void turn(Quarter<double>::type (&v)[2]) {
  const auto a = JG_PICK(int64_t, v[0], v[1], 0, 2);
  v[1] = JG_PICK(int64_t, v[0], v[1], 1, 3);
  v[0] = a;
}

// to[i * row + l] = from[l * step + i] for i < columns, l < rows.
template <class T>
void transpose(const T* from, int64_t columns, int64_t rows, int64_t step, T* to, int64_t row) {
  constexpr int N = Quarter<T>::lanes;
  constexpr int64_t kPiece = 64 / sizeof(T);  // of a row at a time, as lines are read whole
  const int64_t whole = rows / N * N;
  for (int64_t begin = 0; begin < columns; begin += kPiece) {
    const int64_t end = columns - begin < kPiece ? columns : begin + kPiece;
    for (int64_t l = 0; l < whole; l += N) {
      int64_t i = begin;
      for (; i + N <= end; i += N) {
        typename Quarter<T>::type v[N];
        for (int j = 0; j < N; ++j)
          v[j] = *(const typename Quarter<T>::unaligned*)(from + (l + j) * step + i);
        turn(v);
        for (int j = 0; j < N; ++j)
          *(typename Quarter<T>::unaligned*)(to + (i + j) * row + l) = v[j];
      }
      for (; i < end; ++i) {
        for (int j = 0; j < N; ++j) to[i * row + l + j] = from[(l + j) * step + i];
      }
    }
    for (int64_t l = whole; l < rows; ++l) {
      for (int64_t i = begin; i < end; ++i) to[i * row + l] = from[l * step + i];
    }
  }
}

#undef JG_PICK

}  // namespace jaxgroups
