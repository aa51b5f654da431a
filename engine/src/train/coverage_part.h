// The coverage loss of a training step, (23), and its gradient.
#pragma once

#include "train/coverage_loss.h"
#include "train/recurrent_stack.h"

namespace {

template <class T>
class CoveragePart {
 public:
  explicit CoveragePart(const StepCalls<T> &step_calls) : calls(step_calls) {}

  bool exists() const { return calls.settings.coverage_loss > 0; }

  void lay_out(Arena &arena, const RecurrentStack<T> &encoder_stack, int64_t batch, int64_t target_steps) {
    encoder = &encoder_stack;
    B = batch;
    U = target_steps;
    coverages = arena.take<T>(B * U * encoder->steps());
    losses = arena.take<double>(B);
  }

  // Returns the loss, a sum in the order of the sequences, and adds to the gradient of the attention weights, (B, U, S), or,
  // unless `has_gradient`, writes it.
  double add(const T *weights, const int64_t *lengths, T *d_weights, bool has_gradient) const {
    const int64_t S = encoder->steps();
    if (!has_gradient) clear(d_weights, B * U * S);
    calls.for_sequences(B, [&](int64_t b) {
      const int64_t first = b * U * S;
      losses[b] = coverage_loss(weights + first, lengths[b], encoder->lengths()[b], S, calls.settings.coverage_loss, coverages + first,
                                d_weights + first);
    });
    double sum = 0;
    for (int64_t b = 0; b < B; ++b) sum += losses[b];
    return sum;
  }

 private:
  const StepCalls<T> &calls;
  const RecurrentStack<T> *encoder = nullptr;
  int64_t B = 0, U = 0;
  T *coverages;    // (B, U, S)  κ
  double *losses;  // (B)
};

}  // namespace
