// Huge pages for results, as NumPy asks them for its arrays.
//
// What malloc takes from the system anew comes without memory behind it, which the system finds page
// by page, 4 KiB at a time and zeroed, while it is written: for 40 MB that takes longer than the
// convolution. XLA takes the memory of a whole program anew at each call, and what lies beside a
// result in it is for what the next operations write; they are told of huge pages by nobody else.
// So the hint goes further than the result, as far as there is memory that nobody has used yet.
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

enum class Memory { none, used, fresh };  // not mapped; some has been used; none has

inline Memory memory_at(uintptr_t from, uintptr_t bytes, uintptr_t page) {
  unsigned char there[kHuge / 4096];
  if (mincore((void*)from, bytes, there) != 0) return Memory::none;
  for (uintptr_t i = 0; i < bytes / page; ++i) {
    if (there[i] & 1) return Memory::used;
  }
  return Memory::fresh;
}

// The end of the last huge page without use, of at most so many after `from` that may be used.
inline uintptr_t last_fresh(uintptr_t from, uintptr_t most, bool up, uintptr_t page) {
  uintptr_t end = from;
  for (uintptr_t at = from; most > 0; --most) {
    const Memory m = memory_at(up ? at : at - kHuge, kHuge, page);
    if (m == Memory::none) break;
    at = up ? at + kHuge : at - kHuge;
    if (m == Memory::fresh) end = at;
  }
  return end;
}

// To be called before anything is written. What has been used keeps its pages.
inline void ask_for_huge_pages(void* data, size_t bytes) {
  if (bytes < kFromSystem) return;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)data;
  if (page < 4096 || page > kHuge) return;
  if (memory_at((first + bytes / 2) / page * page, page, page) != Memory::fresh) return;
  const uintptr_t most = kAround * bytes / kHuge;
  const uintptr_t from = last_fresh(first / kHuge * kHuge, most, false, page);
  const uintptr_t to = last_fresh((first + bytes + kHuge - 1) / kHuge * kHuge, most, true, page);
  madvise((void*)from, to - from, MADV_HUGEPAGE);  // a hint: that it fails is no fault
}

#else

inline void ask_for_huge_pages(void*, size_t) {}

#endif

}  // namespace jaxgroups
