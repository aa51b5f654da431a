#include "runtime/instruction_sets.h"

#include <cstring>

namespace peephole {

const Kernels *kernels_at(int32_t index) {
  const Kernels *found[4];
  int32_t count = 0;
#if defined(PEEPHOLE_X86)
  __builtin_cpu_init();
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))
    found[count++] = &avx512_bf16_kernels;
  if (avx512) found[count++] = &avx512_kernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &avx2_kernels;
#endif
  found[count++] = &generic_kernels;
  return index >= 0 && index < count ? found[index] : nullptr;
}

const Kernels *kernels_named(const char *name) {
  for (int32_t index = 0; const Kernels *kernels = kernels_at(index); ++index)
    if (name != nullptr && std::strcmp(name, kernels->name) == 0) return kernels;
  return nullptr;
}

}  // namespace peephole
