// What follows a forward convolution in the same call: a residual, and an activation.
#pragma once

#include <cstdint>

namespace jaxgroups {

// The numbers are those of `_spec/epilogue.py`.
enum class Activation : int64_t {
  none,
  clip,         // max(alpha, min(beta, x)): relu, relu6, hardtanh
  leaky,        // x where x >= 0, else alpha x
  sigmoid,      // 1 / (1 + exp(-x))
  silu,         // x sigmoid(x)
  hardsigmoid,  // min(6, max(0, x + 3)) / 6
  hardswish,    // x hardsigmoid(x)
};
constexpr int64_t kActivations = 7;

// Where the residual, an array like the result, is added.
enum class Residual : int64_t { none, before, after };
constexpr int64_t kResiduals = 3;

template <class T>
struct Epilogue {
  Activation activation = Activation::none;
  Residual residual = Residual::none;
  T alpha = 0, beta = 0;
  int64_t apart = 0;  // bytes from a number of the result to that of the residual

  bool clip_alone() const { return activation == Activation::clip && residual == Residual::none; }
  bool empty() const { return activation == Activation::none && residual == Residual::none; }
};

}  // namespace jaxgroups
