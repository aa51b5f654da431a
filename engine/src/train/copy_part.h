// Copying in a training step, (26), (27): the gate, what can be copied, and gradients.
#pragma once

#include "train/step_parts.h"

namespace {

// The first of the most probable symbols that a search may predict.
template <class T>
inline int64_t most_probable(const T *scores, int64_t count) {
  int64_t best = PEEPHOLE_EOS;
  for (int64_t symbol = PEEPHOLE_UNK + 1; symbol < count; ++symbol)
    if (scores[symbol] > scores[best]) best = symbol;
  return best;
}

template <class T>
class CopyPart {
 public:
  CopyPart(const NetworkView &network, StepCalls<T> &step_calls) : n(network), calls(step_calls) {}

  bool exists() const { return n.gate_weight.rows > 0; }

  // rows: the real target steps, at `positions`; S: source steps.
  void lay_out(Arena &arena, int64_t num_rows, int64_t batch, int64_t target_steps, int64_t source_steps, const int64_t *at,
               bool learns) {
    rows = num_rows;
    B = batch;
    U = target_steps;
    S = source_steps;
    positions = at;
    copied = arena.take<int64_t>(B * S);
    gates = arena.take<T>(rows);
    calls.need_linear(rows, n.gate_weight, learns);
    if (!learns) return;
    d_gates = arena.take<T>(rows);
    d_read = arena.take<T>(rows * n.gate_weight.columns);
  }

  // The symbol that a copy of each source symbol is; padding past the sources' lengths.
  void find(const peephole_trainer_step &step) const {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t j = 0; j < S; ++j)
        copied[b * S + j] = j < step.source_lengths[b] ? step.copied[b * S + j] : int64_t(PEEPHOLE_PAD);
  }

  // (26), of inputs (rows, H + M + E); sets what the loss reads besides the readouts.
  void forward(const NetworkView &w, const T *inputs) const {
    calls.training.linear_forward(calls.linear(rows, inputs, w.gate_weight, &w.gate_bias, gates));
  }
  void fill(peephole_output_loss &p, const T *weights) const {
    p.steps = U;
    p.source_steps = S;
    p.gates = gates;
    p.positions = positions;
    p.weights = weights;
    p.copied = copied;
  }
  // d_weights: (B, U, S).
  void fill(peephole_output_loss_gradients &d, T *d_weights) const {
    d.gates = d_gates;
    d.weights = d_weights;
  }

  // The most probable symbol, (27), at a position b * U + t, given the logit of its gate; scores (V) become p of the
  // vocabulary. weights: (B, U, S).
  int64_t most_probable(int64_t position, T *scores, T gate, const T *weights) const {
    const int64_t V = n.output.weight.rows, *own = copied + position / U * S;
    const T *alpha = weights + position * S;
    const double generates = 1 / (1 + std::exp(-double(gate)));
    calls.elements.softmax(scores, T(generates), V);
    auto share = [&](int64_t j) { return T((1 - generates) * double(alpha[j])); };
    for (int64_t j = 0; j < S; ++j)
      if (own[j] < V && own[j] != PEEPHOLE_PAD) scores[own[j]] += share(j);
    int64_t best = ::most_probable(scores, V);
    T most = scores[best];
    for (int64_t j = 0; j < S; ++j) {
      if (own[j] < V) continue;
      T copy = 0;
      for (int64_t i = 0; i < S; ++i) copy += own[i] == own[j] ? share(i) : T(0);
      if (copy <= most) continue;
      best = own[j];
      most = copy;
    }
    return best;
  }

  // Adds to the gradient of the inputs.
  void backward(const NetworkView &w, const NetworkView &g, const T *inputs, T *d_inputs) const {
    const int64_t size = w.gate_weight.columns;
    calls.backward(calls.linear(rows, inputs, w.gate_weight, nullptr, nullptr), d_gates, d_read, g.gate_weight, &g.gate_bias);
    calls.for_rows(rows, [&](int64_t row) { calls.elements.add(d_inputs + row * size, d_read + row * size, nullptr, size); });
  }

 private:
  const NetworkView &n;
  StepCalls<T> &calls;
  int64_t rows = 0, B = 0, U = 0, S = 0;
  const int64_t *positions = nullptr;
  int64_t *copied;     // (B, S)
  T *gates, *d_gates;  // (rows)
  T *d_read;           // (rows, H + M + E)
};

}  // namespace
