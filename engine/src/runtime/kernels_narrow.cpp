// Kernels of bfloat16 and int8. Compiled once for each instruction set, PEEPHOLE_KERNELS.
#include "predict/decoder.h"
#include "runtime/kernels.h"
#include "train/training.h"

namespace peephole::PEEPHOLE_KERNELS {

const NarrowKernels narrow_kernels = {training_kernels<float, Bf16>(), pack_network<Bf16>, pack_network<Int8>};

}  // namespace peephole::PEEPHOLE_KERNELS
