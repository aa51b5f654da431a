// The code that is compiled once for each instruction set, in tables by number format. Plain data: see predict/network.h.
#pragma once

#include <cstdint>

#include "peephole.h"
#include "simd/number_format.h"

namespace peephole {

class Network;
struct NetworkView;

// Training in one number format.
struct TrainingKernels {
  void (*lstm_forward)(const peephole_lstm &problem);
  void (*lstm_backward)(const peephole_lstm &problem, const peephole_lstm_gradients &gradients);
  void (*decoder_forward)(const peephole_decoder &problem);
  void (*decoder_backward)(const peephole_decoder &problem, const peephole_decoder_gradients &gradients);
  void (*linear_forward)(const peephole_linear &problem);
  void (*linear_backward)(const peephole_linear &problem, const peephole_linear_gradients &gradients);
  bool (*output_loss)(const peephole_output_loss &problem, const peephole_output_loss_gradients *gradients);
};

// Functions of one scalar type for tests and measurements; see peephole.h.
struct ArithmeticKernels {
  void (*activation)(int32_t function, int64_t n, const void *in, void *out);
  int64_t (*peak)(int64_t repeats);
};

// Packs a model for prediction with products in a number format.
using PackNetwork = Network *(*)(const NetworkView &view, const NumberFormat &format);

// Finds the k largest of n numbers, largest first, the first of equal ones; returns how many are above -infinity.
using FindLargest = int64_t (*)(const float *numbers, int64_t n, int64_t k, int64_t *indices);

struct FloatKernels {
  TrainingKernels training;
  ArithmeticKernels arithmetic;
  void (*dropout_mask)(const peephole_dropout_mask &problem);
  NumberFormat format;
  PackNetwork pack;
  FindLargest largest;
};

struct DoubleKernels {
  TrainingKernels training;
  ArithmeticKernels arithmetic;
};

// Products of bfloat16 or int8.
struct NarrowKernels {
  TrainingKernels bfloat16_training;
  NumberFormat bfloat16_format, int8_format;
};

#define PEEPHOLE_DECLARE_KERNELS(instruction_set) \
  namespace instruction_set {                     \
  extern const FloatKernels float_kernels;        \
  extern const DoubleKernels double_kernels;      \
  extern const NarrowKernels narrow_kernels;      \
  }
PEEPHOLE_DECLARE_KERNELS(avx512_bf16)  // only narrow_kernels exist: floats and doubles are computed as by avx512
PEEPHOLE_DECLARE_KERNELS(avx512)
PEEPHOLE_DECLARE_KERNELS(avx2)
PEEPHOLE_DECLARE_KERNELS(generic)
#undef PEEPHOLE_DECLARE_KERNELS

}  // namespace peephole
