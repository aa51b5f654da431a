// The functions of training on numbers of T with products of O.
#pragma once

#include "runtime/kernels.h"
#include "train/decoder.h"
#include "train/lstm.h"
#include "train/output_loss.h"

namespace {

template <class T, class O>
constexpr peephole::TrainingKernels training_kernels() {
  peephole::TrainingKernels kernels{};
  using peephole::DistinctInputs;
  kernels.lstm_forward = [](const peephole_lstm &problem, const DistinctInputs *inputs) {
    with_cell(problem.cell, [&](auto cell) { LSTMForward<T, O, decltype(cell)>(problem, inputs).run(); });
  };
  kernels.lstm_backward = [](const peephole_lstm &problem, const peephole_lstm_gradients &gradients, const DistinctInputs *inputs) {
    with_cell(problem.cell, [&](auto cell) { LSTMBackward<T, O, decltype(cell)>(problem, gradients, inputs).run(); });
  };
  kernels.decoder_forward = [](const peephole_decoder &problem, const peephole::SymbolFeed *feed, const DistinctInputs *inputs) {
    with_decoder_forward<T, O>(problem, inputs, [=](auto &pass, const auto &attention) { pass.run(attention, feed); });
  };
  kernels.decoder_backward = [](const peephole_decoder &problem, const peephole_decoder_gradients &gradients,
                                const DistinctInputs *inputs) {
    with_decoder_backward<T, O>(problem, gradients, inputs, [](auto &pass, const auto &attention) { pass.run(attention); });
  };
  kernels.linear_forward = [](const peephole_linear &problem) { Linear<T, O>(problem, nullptr).forward(); };
  kernels.linear_backward = [](const peephole_linear &problem, const peephole_linear_gradients &gradients) {
    Linear<T, O>(problem, &gradients).backward();
  };
  kernels.output_loss = [](const peephole_output_loss &problem, const peephole_output_loss_gradients *gradients) {
    return OutputLoss<T, O>(problem, gradients).run();
  };
  return kernels;
}

}  // namespace
