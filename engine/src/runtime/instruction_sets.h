// The instruction sets that this processor can run, and their kernels.
#pragma once

#include "runtime/kernels.h"

namespace peephole {

struct InstructionSet {
  const char *name;
  const FloatKernels &float_kernels;
  const DoubleKernels &double_kernels;
  const NarrowKernels &narrow_kernels;

  // `scalar` is the size of a number, `operand` an enum peephole_operand.
  const TrainingKernels &training(int32_t scalar, int32_t operand) const;
  const ArithmeticKernels &arithmetic(int32_t scalar) const;
  // Packs a model in the number format of its matrices.
  Network *pack(const NetworkView &view) const;
};

// Returns the index-th instruction set, best first, or NULL.
const InstructionSet *instruction_set_at(int32_t index);

// Returns NULL if the name is unknown or NULL, or the instruction set cannot run here.
const InstructionSet *instruction_set_named(const char *name);

}  // namespace peephole
