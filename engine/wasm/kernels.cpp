// The kernels of prediction, compiled once for each instruction set of WebAssembly. Those of training are left out.
#include "predict/decoder.h"
#include "predict/largest.h"
#include "runtime/kernels.h"
#include "simd/format_products.h"

namespace peephole::generic {

const FloatKernels float_kernels = {{}, {}, {}, nullptr, number_format<float>(), pack_network, find_largest};
const DoubleKernels double_kernels = {};
const NarrowKernels narrow_kernels = {{}, number_format<Bf16>(), number_format<Int8>()};

}  // namespace peephole::generic
