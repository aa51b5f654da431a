// Kernels of double. Compiled once for each instruction set, PEEPHOLE_KERNELS.
#include "runtime/arithmetic.h"
#include "runtime/kernels.h"
#include "train/elements.h"
#include "train/training.h"

namespace peephole::PEEPHOLE_KERNELS {

const DoubleKernels double_kernels = {training_kernels<double, double>(), element_kernels<double>(), arithmetic_kernels<double>()};

}  // namespace peephole::PEEPHOLE_KERNELS
