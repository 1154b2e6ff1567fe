// Channels copied blocks_in_l1, where pixels lie a power of two apart.
//
// Pixels whose distance is a multiple of 2048 bytes, say, share the few places that the first cache
// has for such addresses, and push each other out of it. Copying those that are read many times
// costs little. The weight gradient of depthwise reads each pixel about once: no copy.
#pragma once

#include "runtime/kernel_table.h"
#include "simd/simd.h"

namespace jaxgroups {
namespace JG_ISA {

// Whether a weight gradient copies, and whether `pixels` times `channels` fit.
template <class T>
bool worth_a_copy(const BlockPlan& b, int64_t distance, int64_t pixels, int64_t channels) {
  return wide(b.mode) && distance * static_cast<int64_t>(sizeof(T)) % kConflictBytesGradient == 0 &&
         pixels * channels <= kCopied;
}

template <class T>
void copy_channels(const T* from, int64_t pixels, int64_t distance, int64_t channels, T* to) {
  for (int64_t i = 0; i < pixels; ++i, from += distance, to += channels) {
    for (int64_t j = 0; j < channels; j += Vec<T>::lanes) {
      const Mask<T> some((int)smaller(channels - j, Vec<T>::lanes));
      store_masked(to + j, load_masked(from + j, some), some);
    }
  }
}

}  // namespace JG_ISA
}  // namespace jaxgroups
