#include "runtime/instruction_sets.h"

#include <cstring>

#if defined(PEEPHOLE_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "file/network_view.h"

namespace peephole {

namespace {

#if defined(PEEPHOLE_X86)
#if defined(PEEPHOLE_AMX)
constexpr InstructionSet avx512_amx_set{"avx512_amx", avx512::float_kernels, avx512::double_kernels,
                                        avx512_amx::narrow_kernels};

// Whether the processor multiplies tiles of bfloat16 and of bytes, and Linux lets this process use their registers, for
// which a process must ask, once and for all its threads. From then on Linux refuses signal stacks (sigaltstack) that
// could not hold the registers, about 11 KB; before, it refuses this request if a thread has such a stack.
bool may_use_tiles() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24, kInt8 = 1u << 25, kAll = kBfloat16 | kTiles | kInt8;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kAll) != kAll) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#endif
constexpr InstructionSet avx512_bf16_set{"avx512_bf16", avx512::float_kernels, avx512::double_kernels,
                                         avx512_bf16::narrow_kernels};
constexpr InstructionSet avx512_set{"avx512", avx512::float_kernels, avx512::double_kernels, avx512::narrow_kernels};
constexpr InstructionSet avx2_set{"avx2", avx2::float_kernels, avx2::double_kernels, avx2::narrow_kernels};
#endif
constexpr InstructionSet generic_set{"generic", generic::float_kernels, generic::double_kernels, generic::narrow_kernels};

}  // namespace

const TrainingKernels &InstructionSet::training(int32_t scalar, int32_t operand) const {
  if (scalar == sizeof(double)) return double_kernels.training;
  return operand == PEEPHOLE_BF16 ? narrow_kernels.bfloat16_training : float_kernels.training;
}

const ArithmeticKernels &InstructionSet::arithmetic(int32_t scalar) const {
  return scalar == sizeof(double) ? double_kernels.arithmetic : float_kernels.arithmetic;
}

Network *InstructionSet::pack(const NetworkView &view) const {
  switch (view.number) {
    case Number::kBfloat16: return float_kernels.pack(view, narrow_kernels.bfloat16_format);
    case Number::kInt8: return float_kernels.pack(view, narrow_kernels.int8_format);
    default: return float_kernels.pack(view, float_kernels.format);
  }
}

const InstructionSet *instruction_set_at(int32_t index) {
  const InstructionSet *found[5];
  int32_t count = 0;
#if defined(PEEPHOLE_X86)
  __builtin_cpu_init();
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  bool narrow = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#if defined(PEEPHOLE_AMX)
  static const bool tiles = narrow && may_use_tiles();
  if (tiles) found[count++] = &avx512_amx_set;
#endif
  if (narrow) found[count++] = &avx512_bf16_set;
  if (avx512) found[count++] = &avx512_set;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[count++] = &avx2_set;
#endif
  found[count++] = &generic_set;
  return index >= 0 && index < count ? found[index] : nullptr;
}

const InstructionSet *instruction_set_named(const char *name) {
  for (int32_t index = 0; const InstructionSet *set = instruction_set_at(index); ++index)
    if (name != nullptr && std::strcmp(name, set->name) == 0) return set;
  return nullptr;
}

}  // namespace peephole
