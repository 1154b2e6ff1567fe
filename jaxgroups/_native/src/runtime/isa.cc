#include "runtime/isa.h"

#include <cstring>

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

Isas find() {
  Isas s{};
#if defined(__x86_64__)
  __builtin_cpu_init();
  [[maybe_unused]] const bool fma = __builtin_cpu_supports("avx2") &&
                                    __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  [[maybe_unused]] const bool wide =
      fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#ifdef JG_WITH_AVX512
  if (wide) s.all[s.count++] = &avx512::kernels;
#endif
#ifdef JG_WITH_AVX2
  if (fma) s.all[s.count++] = &avx2::kernels;
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
