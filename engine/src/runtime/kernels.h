// The code that is compiled once for each instruction set, in tables by number format. Plain data: see predict/network.h.
#pragma once

#include <cstdint>

#include "peephole.h"
#include "simd/number_format.h"

namespace peephole {

class Network;
struct NetworkView;

// What scheduled sampling, (14), calls after each step of a decoder: write(context, positions, count, worker) chooses the
// next symbols of some sequences from the states and contexts of this step, at positions b * U + t, and writes their
// embeddings at positions + 1. Calls at the same time have different workers, in [0, threads).
struct SymbolFeed {
  void (*write)(void *context, const int64_t *positions, int64_t count, int worker);
  void *context;
};

// The inputs of a layer of which many are equal, as the embeddings of symbols are: they replace x, or the decoder's
// `embedded`, and its gradient.
struct DistinctInputs {
  int64_t count;      // D
  const int64_t *of;  // (B,T)  in [0, D): the input at each real position
  const void *x;      // (D,I)
  void *d_x;          // (D,I)  the sum of its gradients at all positions. Written by backward
};

// Training in one number format. `inputs` may be NULL.
struct TrainingKernels {
  void (*lstm_forward)(const peephole_lstm &problem, const DistinctInputs *inputs);
  void (*lstm_backward)(const peephole_lstm &problem, const peephole_lstm_gradients &gradients, const DistinctInputs *inputs);
  // feed NULL: all symbols are given; else `inputs` is NULL
  void (*decoder_forward)(const peephole_decoder &problem, const SymbolFeed *feed, const DistinctInputs *inputs);
  void (*decoder_backward)(const peephole_decoder &problem, const peephole_decoder_gradients &gradients,
                           const DistinctInputs *inputs);
  void (*linear_forward)(const peephole_linear &problem);
  void (*linear_backward)(const peephole_linear &problem, const peephole_linear_gradients &gradients);
  bool (*output_loss)(const peephole_output_loss &problem, const peephole_output_loss_gradients *gradients);
};

// The bytes of peephole_lstm_scratch_bytes and peephole_decoder_scratch_bytes with distinct inputs, of which only `count`
// is read; NULL: without.
size_t lstm_scratch_bytes(const peephole_lstm &problem, bool backward, const DistinctInputs *inputs);
size_t decoder_scratch_bytes(const peephole_decoder &problem, bool backward, const DistinctInputs *inputs);

// An update of weights, all arrays of the same size. A share is that of a new number in a moving average.
template <class T>
struct WeightUpdate {
  T *weights, *first_moments, *second_moments, *average;  // average NULL: there is none
  const T *gradients;
  T gradient_scale;  // gradients are multiplied with it first
  T weight_scale;    // 1 - rate · decay
  T step_size;       // rate / (1 - β1^t)
  T correction;      // 1 / √(1 - β2^t)
  T first_share, second_share, average_share, epsilon;
};

// Operations on rows of `size` numbers. `factors` are those of dropout; NULL: 1.
template <class T>
struct ElementKernels {
  void (*multiply)(T *to, const T *from, const float *factors, int64_t size);  // to = from · factors
  void (*add)(T *to, const T *from, const float *factors, int64_t size);       // to += from · factors
  void (*add_scaled)(T *to, const T *from, T factor, int64_t size);
  void (*tanh)(T *to, const T *from, int64_t size);
  // to = from · factors · (1 - value²): the gradient before tanh, given its value and the gradient of value · factors
  void (*tanh_gradient)(T *to, const T *from, const T *value, const float *factors, int64_t size);
  void (*relu)(T *to, int64_t size);                            // to = max(to, 0); NaN stays NaN
  void (*relu_gradient)(T *to, const T *value, int64_t size);   // to = 0 where the value of relu is 0
  double (*softmax)(T *scores, T scale, int64_t size);  // scores = scale · softmax(scores); returns log Σ e^score
  double (*squares)(const T *from, int64_t size);
  void (*update)(const WeightUpdate<T> &update, int64_t first, int64_t end);  // whole vectors of 64 bytes
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
  ElementKernels<float> elements;
  ArithmeticKernels arithmetic;
  void (*dropout_mask)(const peephole_dropout_mask &problem);
  NumberFormat format;
  PackNetwork pack;
  FindLargest largest;
};

struct DoubleKernels {
  TrainingKernels training;
  ElementKernels<double> elements;
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
// Of the first two only narrow_kernels exist: floats and doubles are computed as by avx512.
PEEPHOLE_DECLARE_KERNELS(avx512_amx)
PEEPHOLE_DECLARE_KERNELS(avx512_bf16)
PEEPHOLE_DECLARE_KERNELS(avx512)
PEEPHOLE_DECLARE_KERNELS(avx2)
PEEPHOLE_DECLARE_KERNELS(generic)
#undef PEEPHOLE_DECLARE_KERNELS

}  // namespace peephole
