// The CTC output of a training step, (31): its loss beside that of attention, (33), and gradients.
#pragma once

#include "train/ctc_loss.h"
#include "train/recurrent_stack.h"

namespace {

template <class T>
class CtcPart {
 public:
  CtcPart(const NetworkView &network, StepCalls<T> &step_calls) : n(network), calls(step_calls) {}

  bool exists() const { return n.has_ctc; }

  // Reads the sizes of `given` only.
  void lay_out(Arena &arena, const RecurrentStack<T> &encoder_stack, const peephole_trainer_step &given, bool drops, bool learns) {
    encoder = &encoder_stack;
    step = &given;
    B = given.batch;
    S = encoder->steps();
    first_rows = arena.take<int64_t>(B + 1);
    mask = calls.take_mask(arena, drops, B, S, M);
    read = arena.take<T>(B * S * M);
    scores = arena.take<T>(B * S * V);
    losses = arena.take<double>(B);
    num_numbers = ctc_numbers(given.target_steps - 1, S);
    numbers = arena.take<double>(calls.settings.threads * num_numbers);
    d_read = learns ? arena.take<T>(B * S * M) : nullptr;
    calls.need_linear(B * S, n.ctc.weight, learns);
  }

  void draw(int64_t site) const { calls.draw(mask, B, step->examples, site); }

  // Returns (33), given the loss of attention, after the encoder's pass. target_lengths: (B), with </s>, at least 1.
  double forward(const NetworkView &w, const int64_t *target_lengths, double attention_loss) const {
    first_rows[0] = 0;
    for (int64_t b = 0; b < B; ++b) first_rows[b + 1] = first_rows[b] + encoder->lengths()[b];
    for_outputs([&](int64_t to, int64_t at) {
      calls.elements.multiply(read + to * M, encoder->output() + at * M, mask.of(at), M);
    });
    calls.training.linear_forward(calls.linear(first_rows[B], read, w.ctc.weight, &w.ctc.bias, scores));
    const double weight = calls.settings.ctc_weight;
    for_tasks(calls.settings.threads, B, [&](int64_t b, int worker) {
      const CtcTarget target{step->targets + b * step->target_steps, target_lengths[b] - 1, encoder->lengths()[b]};
      losses[b] = ctc_loss(target, V, T(weight), calls.elements, scores + first_rows[b] * V, numbers + worker * num_numbers);
    });
    double sum = 0;
    for (int64_t b = 0; b < B; ++b) sum += losses[b];
    return (1 - weight) * attention_loss + weight * sum;
  }

  // Scales a gradient of the loss of attention by its share in (33).
  void scale(T *gradient, int64_t rows, int64_t columns) const {
    const T share = T(1 - calls.settings.ctc_weight);
    calls.for_rows(rows, [&](int64_t row) {
      for (T *number = gradient + row * columns; number < gradient + (row + 1) * columns; ++number) *number *= share;
    });
  }

  // Adds to the gradient of the encoder's outputs, (B, S, M).
  void backward(const NetworkView &w, const NetworkView &g, T *d_outputs) const {
    calls.backward(calls.linear(first_rows[B], read, w.ctc.weight, nullptr, nullptr), scores, d_read, g.ctc.weight, &g.ctc.bias);
    for_outputs([&](int64_t from, int64_t at) { calls.elements.add(d_outputs + at * M, d_read + from * M, mask.of(at), M); });
  }

 private:
  const NetworkView &n;
  StepCalls<T> &calls;
  const RecurrentStack<T> *encoder = nullptr;
  const peephole_trainer_step *step = nullptr;
  const int64_t M = n.encoder_size, V = n.ctc.weight.rows;
  int64_t B = 0, S = 0;
  int64_t *first_rows;  // (B + 1): real outputs of the encoder before each sequence's
  Mask mask;
  T *read, *d_read;     // (B * S, M)  the real outputs with dropout, one sequence after the other
  T *scores;            // (B * S, V)  and their gradient
  double *losses;       // (B)
  int64_t num_numbers;
  double *numbers;      // of each thread

  // Calls body(row, position) for all real outputs of the encoder.
  template <class Body>
  void for_outputs(Body body) const {
    calls.for_sequences(B, [&](int64_t b) {
      for (int64_t j = 0; j < encoder->lengths()[b]; ++j) body(first_rows[b] + j, b * S + j);
    });
  }
};

}  // namespace
