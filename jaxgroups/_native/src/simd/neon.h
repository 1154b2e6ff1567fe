// NEON of 64-bit Arm. It has no masked loads: what is selected is loaded in pieces of one or two
// lanes. Included by simd.h alone.
#pragma once

#include <arm_neon.h>

namespace jaxgroups {
namespace JG_ISA {

template <>
JG_INLINE V<float> load_masked(const float* p, Mask<float> mask) {
  if (mask.n >= 4) return load(p);
  const float32x2_t zero = vdup_n_f32(0);
  float32x2_t low = zero, high = zero;
  if (mask.n >= 2) {
    low = vld1_f32(p);
    if (mask.n == 3) high = vld1_lane_f32(p + 2, zero, 0);
  } else if (mask.n == 1) {
    low = vld1_lane_f32(p, zero, 0);
  }
  return (V<float>)vcombine_f32(low, high);
}

template <>
JG_INLINE V<double> load_masked(const double* p, Mask<double> mask) {
  if (mask.n >= 2) return load(p);
  const float64x1_t zero = vdup_n_f64(0);
  return (V<double>)vcombine_f64(mask.n == 1 ? vld1_f64(p) : zero, zero);
}

template <>
JG_INLINE void store_masked(float* p, V<float> v, Mask<float> mask) {
  if (mask.n >= 4) return store(p, v);
  const float32x4_t x = (float32x4_t)v;
  if (mask.n >= 2) {
    vst1_f32(p, vget_low_f32(x));
    if (mask.n == 3) vst1q_lane_f32(p + 2, x, 2);
  } else if (mask.n == 1) {
    vst1q_lane_f32(p, x, 0);
  }
}

template <>
JG_INLINE void store_masked(double* p, V<double> v, Mask<double> mask) {
  if (mask.n >= 2) return store(p, v);
  if (mask.n == 1) vst1q_lane_f64(p, (float64x2_t)v, 0);
}

// The bytes of each lane, for TBL: lane i takes the four bytes from 4 index[i] on.
template <>
struct LaneIndices<float> {
  uint8x16_t bytes;
  explicit JG_INLINE LaneIndices(const int32_t* table) {
    const uint32x4_t index = vld1q_u32(reinterpret_cast<const uint32_t*>(table));
    const uint32x4_t first = vmulq_n_u32(index, 0x04040404u);
    bytes = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100u)));
  }
};

template <>
JG_INLINE V<float> permute<float>(V<float> x, LaneIndices<float> indices) {
  return (V<float>)vqtbl1q_u8((uint8x16_t)x, indices.bytes);
}

}  // namespace JG_ISA
}  // namespace jaxgroups
