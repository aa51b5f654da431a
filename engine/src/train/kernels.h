// What is compiled once per instruction set.
#pragma once

#include <cstdint>

#include "peephole.h"

namespace peephole {

struct InferenceKernels;

struct Kernels {
  const char *name;
  void (*lstm_forward)(const peephole_lstm &problem);
  void (*lstm_backward)(const peephole_lstm &problem, const peephole_lstm_gradients &gradients);
  void (*decoder_forward)(const peephole_decoder &problem);
  void (*decoder_backward)(const peephole_decoder &problem, const peephole_decoder_gradients &gradients);
  void (*linear_forward)(const peephole_linear &problem);
  void (*linear_backward)(const peephole_linear &problem, const peephole_linear_gradients &gradients);
  bool (*output_loss)(const peephole_output_loss &problem, const peephole_output_loss_gradients *gradients);
  void (*dropout_mask)(const peephole_dropout_mask &problem);
  void (*activation)(int32_t function, int32_t scalar, int64_t n, const void *in, void *out);
  int64_t (*peak)(int64_t repeats, int32_t scalar);
  const InferenceKernels *inference;
};

extern const InferenceKernels avx512_bf16_inference, avx512_inference, avx2_inference, generic_inference;

extern const Kernels avx512_bf16_kernels, avx512_kernels, avx2_kernels, generic_kernels;

}  // namespace peephole
