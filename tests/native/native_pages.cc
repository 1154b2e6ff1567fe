// Where the hint of pages.h goes: 128 MB mapped anew, a result of 1 MB at 64 MB, and what is marked
// afterwards, in MB. The first argument says what was there before, the second is the HintReach.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/huge_pages.h"

namespace {

constexpr uintptr_t kMega = 1 << 20;

// The parts of [from, to) with the flag that MADV_HUGEPAGE sets.
void print_marked(uintptr_t from, uintptr_t to) {
  FILE* const maps = std::fopen("/proc/self/smaps", "r");
  char line[512];
  uintptr_t first = 0, last = 0;
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    uintptr_t a, b;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &a, &b) == 2) {
      first = a < from ? from : a;
      last = b < to ? b : to;
    }
    if (std::strncmp(line, "VmFlags:", 8) == 0 && std::strstr(line, " hg") != nullptr &&
        first < last) {
      std::printf("%" PRIuPTR "-%" PRIuPTR " ", (first - from) / kMega, (last - from) / kMega);
    }
  }
  std::fclose(maps);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string before = arguments[1];
  const size_t bytes = before == "small" ? 100 << 10 : before == "large" ? 8 * kMega : kMega;
  void* const all =
      mmap(nullptr, 130 * kMega, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return 1;
  const uintptr_t base = ((uintptr_t)all + 2 * kMega - 1) / (2 * kMega) * (2 * kMega);
  const auto at = [&](uintptr_t mega) { return (char*)(base + mega * kMega); };
  if (before == "used") std::memset(at(64), 1, bytes);
  if (before == "neighbours") *at(81) = *at(43) = 1;
  if (before == "ends") *at(97) = *at(33) = 1;
  if (before == "hole" && munmap(at(43), kMega) != 0) return 1;
  if (count > 2) jaxgroups::hint_reach = static_cast<jaxgroups::HintReach>(std::atoi(arguments[2]));
  jaxgroups::hint_huge_pages(at(64) + 64, bytes);
  print_marked(base, base + 128 * kMega);
}
