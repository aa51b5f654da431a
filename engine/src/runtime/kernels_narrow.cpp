// Kernels of bfloat16 and int8. Compiled once for each instruction set, PEEPHOLE_KERNELS.
#include "runtime/kernels.h"
#include "simd/format_products.h"
#include "train/training.h"

namespace peephole::PEEPHOLE_KERNELS {

const NarrowKernels narrow_kernels = {training_kernels<float, Bf16>(), number_format<Bf16>(), number_format<Int8>()};

}  // namespace peephole::PEEPHOLE_KERNELS
