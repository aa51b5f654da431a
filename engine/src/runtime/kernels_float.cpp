// Kernels of float, and those of no number format. Compiled once for each instruction set, PEEPHOLE_KERNELS.
#include "predict/decoder.h"
#include "predict/largest.h"
#include "runtime/arithmetic.h"
#include "runtime/kernels.h"
#include "simd/format_products.h"
#include "train/dropout.h"
#include "train/elements.h"
#include "train/training.h"

namespace peephole::PEEPHOLE_KERNELS {

const FloatKernels float_kernels = {training_kernels<float, float>(), element_kernels<float>(), arithmetic_kernels<float>(),
                                    make_dropout_mask, number_format<float>(), pack_network, find_largest};

}  // namespace peephole::PEEPHOLE_KERNELS
