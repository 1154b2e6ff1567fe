// Huge pages for results, as NumPy asks them for its arrays.
//
// What malloc takes from the system anew comes without memory behind it, which the system finds page
// by page, 4 KiB at a time and zeroed, while it is written: for 40 MB that takes longer than the
// convolution. XLA takes the memory of a whole program anew at each call, and what lies beside a
// result in it is for what the next operations write; they are told of huge pages by nobody else.
// So the hint goes further than the result, but only to memory that nobody has used yet.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace jaxgroups {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

constexpr uintptr_t kHuge = 2 << 20;
constexpr size_t kFromSystem = 128 << 10;  // bytes from which on malloc asks the system
constexpr size_t kAround = 32;  // times the result, to either side

// Whether all of it may be used and there is no memory behind any of it.
inline bool fresh(uintptr_t from, uintptr_t bytes, uintptr_t page) {
  unsigned char there[kHuge / 4096];
  if (mincore((void*)from, bytes, there) != 0) return false;
  for (uintptr_t i = 0; i < bytes / page; ++i) {
    if (there[i] & 1) return false;
  }
  return true;
}

// To be called before anything is written.
inline void ask_for_huge_pages(void* data, size_t bytes) {
  if (bytes < kFromSystem) return;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)data;
  if (page < 4096 || page > kHuge || !fresh((first + bytes / 2) / page * page, page, page)) return;
  uintptr_t from = first / kHuge * kHuge, to = (first + bytes + kHuge - 1) / kHuge * kHuge;
  const uintptr_t around = kAround * bytes, low = from > around ? from - around : 0, high = to + around;
  while (from >= low + kHuge && fresh(from - kHuge, kHuge, page)) from -= kHuge;
  while (to + kHuge <= high && fresh(to, kHuge, page)) to += kHuge;
  madvise((void*)from, to - from, MADV_HUGEPAGE);  // a hint: that it fails is no fault
}

#else

inline void ask_for_huge_pages(void*, size_t) {}

#endif

}  // namespace jaxgroups
