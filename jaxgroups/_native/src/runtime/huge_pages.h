// Hints for transparent huge pages (madvise), as NumPy gives them for its arrays.
//
// malloc takes large blocks from the system, which provides their memory at the first write: 4 KiB
// at a time, each page zeroed. For 40 MB this takes longer than the convolution. XLA does not give
// the hint for the memory of its programs, which it allocates at each call. Other results of the
// program are close to ours in that memory. We therefore extend the hint to neighbouring pages that
// are still untouched. They belong to XLA's allocator: the hint changes the size of their pages,
// not their content. `HintReach` limits it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/tuning.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace jaxgroups {

// Which memory the hint covers. The order is that of REACHES in huge_pages.py.
enum class HintReach { kNone, kResult, kAround };

inline HintReach hint_reach = HintReach::kAround;  // set once, while the library is loaded

#if defined(__linux__) && defined(MADV_HUGEPAGE)

constexpr uintptr_t kHugePageBytes = 2 << 20;

enum class PageState { kUnmapped, kUsed, kUntouched };

inline PageState state_of(uintptr_t from, uintptr_t bytes, uintptr_t page) {
  unsigned char resident[kHugePageBytes / 4096];
  if (mincore(reinterpret_cast<void*>(from), bytes, resident) != 0) return PageState::kUnmapped;
  for (uintptr_t i = 0; i < bytes / page; ++i) {
    if (resident[i] & 1) return PageState::kUsed;
  }
  return PageState::kUntouched;
}

// The end of the last untouched huge page, of at most `most` beyond `from` that are mapped.
inline uintptr_t last_untouched(uintptr_t from, uintptr_t most, bool up, uintptr_t page) {
  uintptr_t end = from;
  for (uintptr_t at = from; most > 0; --most) {
    const PageState state = state_of(up ? at : at - kHugePageBytes, kHugePageBytes, page);
    if (state == PageState::kUnmapped) break;
    at = up ? at + kHugePageBytes : at - kHugePageBytes;
    if (state == PageState::kUntouched) end = at;
  }
  return end;
}

// To be called before the result is written. Memory that has been used keeps its pages.
inline void hint_huge_pages(void* data, size_t bytes) {
  if (hint_reach == HintReach::kNone || bytes < kHintFromBytes) return;
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(data), last = first + bytes;
  if (page < 4096 || page > kHugePageBytes) return;
  if (state_of((first + bytes / 2) / page * page, page, page) != PageState::kUntouched) return;
  uintptr_t from = first / kHugePageBytes * kHugePageBytes;
  uintptr_t to = (last + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  if (hint_reach == HintReach::kResult) {  // only pages that are the result's alone
    from = (first + page - 1) / page * page;
    to = last / page * page;
  } else {
    const size_t reach = bytes < kHintMostBytes / kHintTimes ? kHintTimes * bytes : kHintMostBytes;
    from = last_untouched(from, reach / kHugePageBytes, false, page);
    to = last_untouched(to, reach / kHugePageBytes, true, page);
  }
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
}

#else

inline void hint_huge_pages(void*, size_t) {}

#endif

}  // namespace jaxgroups
