// Compiled once per instruction set, with PEEPHOLE_KERNELS the name of the table.
#include "train/kernels.h"

#include "train/decoder.h"
#include "train/dropout.h"
#include "train/lstm.h"
#include "train/output_loss.h"

namespace {

void lstm_forward(const peephole_lstm &problem) {
  with_types(problem.scalar, problem.operand,
             [&](auto t, auto o) { LSTMForward<decltype(t), decltype(o)>(problem).run(); });
}

void lstm_backward(const peephole_lstm &problem, const peephole_lstm_gradients &gradients) {
  with_types(problem.scalar, problem.operand,
             [&](auto t, auto o) { LSTMBackward<decltype(t), decltype(o)>(problem, gradients).run(); });
}

void decoder_forward(const peephole_decoder &problem) {
  with_types(problem.scalar, problem.operand,
             [&](auto t, auto o) { DecoderForward<decltype(t), decltype(o)>(problem).run(); });
}

void decoder_backward(const peephole_decoder &problem, const peephole_decoder_gradients &gradients) {
  with_types(problem.scalar, problem.operand,
             [&](auto t, auto o) { DecoderBackward<decltype(t), decltype(o)>(problem, gradients).run(); });
}

void linear_forward(const peephole_linear &problem) {
  with_types(problem.scalar, problem.operand,
             [&](auto t, auto o) { Linear<decltype(t), decltype(o)>(problem, nullptr).forward(); });
}

void linear_backward(const peephole_linear &problem, const peephole_linear_gradients &gradients) {
  with_types(problem.scalar, problem.operand,
             [&](auto t, auto o) { Linear<decltype(t), decltype(o)>(problem, &gradients).backward(); });
}

bool output_loss(const peephole_output_loss &problem, const peephole_output_loss_gradients *gradients) {
  return with_types(problem.scalar, problem.operand,
                    [&](auto t, auto o) { return OutputLoss<decltype(t), decltype(o)>(problem, gradients).run(); });
}

void dropout_mask(const peephole_dropout_mask &problem) { DropoutMask(problem).run(); }

template <class T>
void activate(int32_t function, int64_t n, const T *in, T *out) {
  FlushDenormals flush;
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    Vector<T> z = load(in + i, n - i);
    store(out + i, function == PEEPHOLE_SIGMOID ? sigmoid<T>(z) : tanh<T>(z), n - i);
  }
}

void activation(int32_t function, int32_t scalar, int64_t n, const void *in, void *out) {
  if (scalar == sizeof(float))
    activate(function, n, static_cast<const float *>(in), static_cast<float *>(out));
  else
    activate(function, n, static_cast<const double *>(in), static_cast<double *>(out));
}

template <class T>
int64_t multiply_in_cache(int64_t repeats) {
  constexpr int64_t kDepth = 96, kWidth = 4 * kLanes<T>;  // at most 24 KB of panel
  static const T panel[kDepth * kWidth] = {}, left[kTileRows * kDepth] = {};
  T sums[kTileRows * kWidth];
  const T *rows[kTileRows];
  for (int r = 0; r < kTileRows; ++r) rows[r] = left + r * kDepth;
  for (int64_t i = 0; i < repeats; ++i) {
    tile_of<T>(kTileRows, 4)(kDepth, rows, panel, nullptr, 0, sums, kWidth);
    asm volatile("" ::"r"(sums) : "memory");  // the result is used, says this
  }
  return repeats * kDepth * kWidth * kTileRows * 2;
}

int64_t peak(int64_t repeats, int32_t scalar) {
  return scalar == sizeof(float) ? multiply_in_cache<float>(repeats) : multiply_in_cache<double>(repeats);
}

}  // namespace

namespace peephole {

#define PEEPHOLE_TEXT(name) #name
#define PEEPHOLE_NAME(name) PEEPHOLE_TEXT(name)
#define PEEPHOLE_JOIN(name) name##_kernels
#define PEEPHOLE_TABLE(name) PEEPHOLE_JOIN(name)
#define PEEPHOLE_JOIN_INFERENCE(name) name##_inference
#define PEEPHOLE_INFERENCE(name) PEEPHOLE_JOIN_INFERENCE(name)

extern const Kernels PEEPHOLE_TABLE(PEEPHOLE_KERNELS) = {
    PEEPHOLE_NAME(PEEPHOLE_KERNELS),
    lstm_forward,
    lstm_backward,
    decoder_forward,
    decoder_backward,
    linear_forward,
    linear_backward,
    output_loss,
    dropout_mask,
    activation,
    peak,
    &PEEPHOLE_INFERENCE(PEEPHOLE_KERNELS),
};

}  // namespace peephole
