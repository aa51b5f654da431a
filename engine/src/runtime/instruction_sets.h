// The kernels that this processor can run.
#pragma once

#include "train/kernels.h"

namespace peephole {

// The index-th, best first, else NULL.
const Kernels *kernels_at(int32_t index);

// NULL if there is none of that name, or it cannot run here.
const Kernels *kernels_named(const char *name);

}  // namespace peephole
