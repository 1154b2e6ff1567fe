// Huge pages for large results, as NumPy asks them for its arrays.
//
// What malloc takes from the system anew comes without memory behind it, which the system finds page
// by page, 4 KiB at a time and zeroed, while a kernel writes: of 40 MB that is most of the time.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace jaxgroups {

// To be called before anything is written. Memory that has been used before stays as it is.
inline void ask_for_huge_pages(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHuge = 2 << 20;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)data;
  if (bytes < kHuge) return;
  unsigned char there = 1;
  void* const middle = (void*)((first + bytes / 2) / page * page);
  if (mincore(middle, page, &there) != 0 || (there & 1)) return;
  const uintptr_t from = first / kHuge * kHuge, to = (first + bytes + kHuge - 1) / kHuge * kHuge;
  madvise((void*)from, to - from, MADV_HUGEPAGE);  // a hint: that it fails is no fault
#endif
}

}  // namespace jaxgroups
