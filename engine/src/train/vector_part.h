// Real vectors as targets in a training step, (51)-(55): what the decoder is fed, the output's loss, and gradients.
//
// Rows are the steps of all targets up to the last with a component that is not missing, one target after the other.
#pragma once

#include "train/vector_loss.h"
#include "train/vector_units.h"

namespace {

template <class T>
class VectorPart {
 public:
  VectorPart(const NetworkView &network, StepCalls<T> &step_calls) : n(network), calls(step_calls) {}

  bool exists() const { return peephole::is_vectors(n.output_kind); }

  // The steps of a target up to the last with a component that is not missing, at least 1.
  int64_t length(const peephole_trainer_step &given, int64_t b) const {
    const float *target = given.vectors + b * given.target_steps * D;
    int64_t count = given.target_steps * D;
    while (count > D && !std::isfinite(target[count - 1])) --count;
    return (count + D - 1) / D;
  }

  // num_rows: of all targets, at `at` = b * U + t.
  void lay_out(Arena &arena, const peephole_trainer_step &step, int64_t num_rows, const int64_t *at, bool learns) {
    given = &step;
    rows = num_rows;
    positions = at;
    units.lay_out(arena, step.batch, D);
    z = arena.take<T>(rows * D);
    fed = arena.take<T>(rows * D);
    embedded_rows = arena.take<T>(rows * E);
    numbers = arena.take<T>(rows * P * D);
    losses = arena.take<double>(rows);
    scratch = arena.take<double>(calls.settings.threads * 2 * P);
    calls.need_linear(rows, n.target_embedding, learns);
    calls.need_linear(rows, n.output.weight, learns);
  }

  // Finds the units, z_t of each row, and what each row is fed. first_rows: (B).
  void find(const NetworkView &w, const int64_t *first_rows, const int64_t *lengths) const {
    calls.for_sequences(given->batch, [&](int64_t b) {
      const float *frames = given->frames + b * given->source_steps * F;
      const int64_t steps = given->source_lengths[b];
      if (n.source_units) {
        units.measure(b, frames, steps, F);
      } else {
        copy(units.mean + b * D, calls.in(w.vector_mean), D);
        copy(units.deviation + b * D, calls.in(w.vector_deviation), D);
      }
      T *target = z + first_rows[b] * D, *input = fed + first_rows[b] * D;
      for (int64_t d = 0; d < D; ++d) input[d] = n.continues ? units.normalized(b, d, T(frames[(steps - 1) * F + d])) : T(0);
      for (int64_t t = 0; t < lengths[b]; ++t) {
        const float *y = wanted(b * given->target_steps + t);
        for (int64_t d = 0; d < D; ++d) target[t * D + d] = std::isfinite(y[d]) ? units.normalized(b, d, T(y[d])) : T(0);
        if (t) copy(input + t * D, n.feedback ? target + (t - 1) * D : input, D);
      }
    });
  }

  // The units of the sources, if they are normalised by them; else NULL. After `find`.
  const VectorUnits<T> *source_units() const { return exists() && n.source_units ? &units : nullptr; }

  // (52), with dropout, at the position of each row in (B, U, E).
  void embed(const NetworkView &w, const Mask &mask, T *embedded) const {
    calls.training.linear_forward(calls.linear(rows, fed, w.target_embedding, &w.vector_bias, embedded_rows));
    calls.for_rows(rows, [&](int64_t row) {
      const int64_t at = positions[row];
      calls.elements.multiply(embedded + at * E, embedded_rows + row * E, mask.of(at), E);
    });
  }

  // Returns the summed loss, given the readouts (rows, H), and keeps its gradient by the output layer.
  double loss(const NetworkView &w, const T *readouts) const {
    calls.training.linear_forward(calls.linear(rows, readouts, w.output.weight, &w.output.bias, numbers));
    constexpr int64_t kRows = 64;
    for_tasks(calls.settings.threads, (rows + kRows - 1) / kRows, [&](int64_t task, int worker) {
      for (int64_t row = task * kRows; row < std::min(rows, (task + 1) * kRows); ++row)
        losses[row] = row_loss(row, scratch + worker * 2 * P);
    });
    double sum = 0;
    for (int64_t row = 0; row < rows; ++row) sum += losses[row];
    return sum;
  }

  // The logarithm of the density of each target, (11), in its own units, after `loss`: (B).
  void log_densities(const int64_t *first_rows, const int64_t *lengths, double *found) const {
    for (int64_t b = 0; b < given->batch; ++b) {
      double sum = 0;
      for (int64_t t = 0; t < lengths[b]; ++t) {
        const float *y = wanted(b * given->target_steps + t);
        sum += losses[first_rows[b] + t];
        for (int64_t d = 0; d < D; ++d)
          if (std::isfinite(y[d])) sum += std::log(double(units.deviation[b * D + d]));
      }
      found[b] = -sum;
    }
  }

  // From the gradient that `loss` kept to those of the readouts and the output layer.
  void output_gradient(const NetworkView &w, const NetworkView &g, const T *readouts, T *d_readouts) const {
    calls.backward(calls.linear(rows, readouts, w.output.weight, nullptr, nullptr), numbers, d_readouts, g.output.weight, &g.output.bias);
  }

  // From the gradient of what `embed` wrote to those of A and a.
  void embedding_gradient(const NetworkView &w, const NetworkView &g, const Mask &mask, const T *d_embedded) const {
    calls.for_rows(rows, [&](int64_t row) {
      const int64_t at = positions[row];
      calls.elements.multiply(embedded_rows + row * E, d_embedded + at * E, mask.of(at), E);
    });
    calls.backward(calls.linear(rows, fed, w.target_embedding, nullptr, nullptr), embedded_rows, nullptr, g.target_embedding, &g.vector_bias);
  }

 private:
  const NetworkView &n;
  StepCalls<T> &calls;
  const peephole_trainer_step *given = nullptr;
  const int64_t D = n.output_size, F = n.input_size, E = n.embedding_size;
  const int64_t P = exists() ? n.output.weight.rows / n.output_size : 0;  // numbers that describe a component
  int64_t rows = 0;
  const int64_t *positions = nullptr;
  VectorUnits<T> units;
  T *z, *fed;          // (rows, D)  0 for a missing component; z_{t-1}, or z_0 without feedback
  T *embedded_rows;    // (rows, E)  A z + a; then the gradient
  T *numbers;          // (rows, P, D); then the gradient
  double *losses;      // (rows)
  double *scratch;     // of each thread

  const float *wanted(int64_t position) const { return given->vectors + position * D; }

  // Replaces the numbers of a row by their gradients; those of a missing component by 0.
  double row_loss(int64_t row, double *own) const {
    const float *y = wanted(positions[row]);
    double sum = 0;
    for (int64_t d = 0; d < D; ++d) {
      T *component = numbers + row * P * D + d;
      const double target = double(z[row * D + d]);
      if (!std::isfinite(y[d])) {
        for (int64_t p = 0; p < P; ++p) component[p * D] = 0;
      } else if (n.output_kind == peephole::Output::kGaussian) {
        sum += gaussian_loss(component, D, target);
      } else {
        sum += quantile_loss(component, D, P, target, own);
      }
    }
    return sum;
  }
};

}  // namespace
