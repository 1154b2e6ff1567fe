#include "runtime/isa.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace jaxgroups {

#define JG_SET(name)                           \
  namespace name {                             \
  extern const KernelsOf<float> f32;           \
  extern const KernelsOf<double> f64;          \
  const Kernels kernels = {#name, &f32, &f64}; \
  }

#ifdef JG_WITH_AVX512
JG_SET(avx512)
#endif
#ifdef JG_WITH_AVX2
JG_SET(avx2)
#endif
JG_SET(baseline)

namespace {

#if defined(__x86_64__)
struct Supported {
  bool avx2, avx512;  // with all that the kernels of this name use
};

// What the processor has, and the operating system saves. __builtin_cpu_supports is not used
// because with the runtime library of zig, which compiles the wheels, it always says no.
Supported supported() {
  const auto all = [](unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; };
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kFma = 1u << 12, kXgetbv = 1u << 27, kAvx = 1u << 28;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !all(ecx, kFma | kXgetbv | kAvx)) return {};
  unsigned saved = 0, high = 0;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;  // with the narrower ones, and the masks
  if (!all(saved, kYmm) || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {};
  constexpr unsigned kAvx2 = 1u << 5, kBmi2 = 1u << 8;
  constexpr unsigned kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  const bool avx2 = all(ebx, kAvx2 | kBmi2);
  return {avx2, avx2 && all(saved, kZmm) && all(ebx, kF | kDq | kBw | kVl)};
}
#endif

Isas find() {
  Isas s{};
#if defined(__x86_64__)
  [[maybe_unused]] const Supported here = supported();
#ifdef JG_WITH_AVX512
  if (here.avx512) s.all[s.count++] = &avx512::kernels;
#endif
#ifdef JG_WITH_AVX2
  if (here.avx2) s.all[s.count++] = &avx2::kernels;
#endif
#endif
  s.all[s.count++] = &baseline::kernels;
  return s;
}

}  // namespace

Isas& isas() {
  static Isas s = find();
  return s;
}

}  // namespace jaxgroups

// Name of the i-th instruction set that runs here, null after the last.
extern "C" __attribute__((visibility("default"))) const char* jaxgroups_instruction_set(int i) {
  const jaxgroups::Isas& s = jaxgroups::isas();
  return i >= 0 && i < s.count ? s.all[i]->name : nullptr;
}

// Uses no set wider than this one; 0 if it does not run here. Not while a convolution runs.
extern "C" __attribute__((visibility("default"))) int jaxgroups_use_instruction_set(
    const char* name) {
  jaxgroups::Isas& s = jaxgroups::isas();
  for (int i = 0; i < s.count; ++i) {
    if (std::strcmp(s.all[i]->name, name) == 0) {
      s.first = i;
      return 1;
    }
  }
  return 0;
}
