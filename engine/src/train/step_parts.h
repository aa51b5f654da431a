// What the parts of a whole training step share: kernels, memory, dropout and zoneout.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/kernels.h"
#include "runtime/workers.h"
#include "simd/ragged_batch.h"

namespace {

using peephole::ElementKernels;
using peephole::MatrixView;
using peephole::NetworkView;
using peephole::TrainingKernels;

constexpr int64_t kMostDirections = 2;

// The factors of dropout at one site, (B, T, F) or, variational, (B, F).
struct Mask {
  float *numbers = nullptr;  // NULL: no dropout
  int64_t steps = 0, units = 0;
  bool variational = false;
  // The factors at position b * T + t.
  const float *of(int64_t position) const {
    return numbers ? numbers + (variational ? position / steps : position) * units : nullptr;
  }
};

// The shares of new states that the steps of a layer take, (43), (B, T, H).
template <class T>
struct Shares {
  double rate = 0;  // that of the states before that stays; 0: no zoneout
  int64_t steps = 0, units = 0;
  float *drawn = nullptr;
  T *numbers = nullptr;  // those drawn as T
};

// Numbers of enum peephole_zoneout.
template <class T>
inline int32_t zoneout_of(const Shares<T> &taken_h, const Shares<T> &taken_c) {
  return (taken_h.rate > 0 ? PEEPHOLE_ZONEOUT_OF_H : 0) + (taken_c.rate > 0 ? PEEPHOLE_ZONEOUT_OF_C : 0);
}

// The calls of a step: kernels of one instruction set, the settings of all of them, and the memory that they share.
template <class T>
struct StepCalls {
  const TrainingKernels &training;
  const ElementKernels<T> &elements;
  void (*make_mask)(const peephole_dropout_mask &);
  const peephole_trainer_settings &settings;
  const uint32_t *unit_keys;

  size_t scratch_bytes = 0;  // the most that one call needs
  char *scratch[kMostDirections] = {};  // temporary memory of one call; two may run at the same time

  void need(size_t bytes) { scratch_bytes = std::max(scratch_bytes, bytes); }

  // Takes the memory of a mask; `drops` false: there is none.
  Mask take_mask(Arena &arena, bool drops, int64_t batch, int64_t steps, int64_t units) const {
    Mask mask;
    mask.steps = steps;
    mask.units = units;
    mask.variational = settings.variational != 0;
    if (drops) mask.numbers = arena.take<float>(batch * (mask.variational ? 1 : steps) * units);
    return mask;
  }

  void draw(const Mask &mask, int64_t batch, const int64_t *examples, int64_t site) const {
    if (!mask.numbers) return;
    draw(mask.numbers, settings.dropout, 1 - settings.dropout, batch, mask.variational ? 1 : mask.steps, mask.units, examples, site);
  }

  // Takes the memory of the shares of a layer in one direction.
  Shares<T> take_shares(Arena &arena, double rate, int64_t batch, int64_t steps, int64_t units) const {
    Shares<T> shares{rate, steps, units};
    const int64_t count = rate > 0 ? batch * steps * units : 0;
    shares.numbers = arena.take<T>(count);
    if constexpr (std::is_same_v<T, float>)
      shares.drawn = shares.numbers;
    else
      shares.drawn = arena.take<float>(count);
    return shares;
  }

  // Draws shares: 0 with the probability `rate`, else 1. examples NULL: writes their mean, as in predictions.
  void draw(const Shares<T> &shares, int64_t batch, const int64_t *examples, int64_t site) const {
    if (!(shares.rate > 0)) return;
    const int64_t width = shares.steps * shares.units;
    if (examples) draw(shares.drawn, shares.rate, 1, batch, shares.steps, shares.units, examples, site);
    for_sequences(batch, [&](int64_t b) {
      T *to = shares.numbers + b * width;
      if (!examples) std::fill(to, to + width, T(1 - shares.rate));
      if (examples && !std::is_same_v<T, float>) std::copy(shares.drawn + b * width, shares.drawn + (b + 1) * width, to);
    });
  }

  // y = W x + b for some rows; bias NULL: 0.
  peephole_linear linear(int64_t rows, const T *x, const MatrixView &weight, const MatrixView *bias, T *y) const {
    peephole_linear problem{};
    problem.scalar = settings.scalar;
    problem.operand = settings.operand;
    problem.threads = settings.threads;
    problem.rows = rows;
    problem.inputs = weight.columns;
    problem.outputs = weight.rows;
    problem.x = x;
    problem.weight = weight.numbers;
    problem.bias = bias ? bias->numbers : nullptr;
    problem.y = y;
    problem.scratch = scratch[0];
    return problem;
  }
  void need_linear(int64_t rows, const MatrixView &weight, bool backward) {
    const peephole_linear problem = linear(rows, nullptr, weight, nullptr, nullptr);
    need(peephole_linear_scratch_bytes(&problem, 0));
    if (backward) need(peephole_linear_scratch_bytes(&problem, 1));
  }
  void backward(const peephole_linear &problem, const T *d_y, T *d_x, const MatrixView &weight, const MatrixView *bias) const {
    const peephole_linear_gradients gradients{d_y, d_x, to(weight), bias ? to(*bias) : nullptr};
    training.linear_backward(problem, gradients);
  }

  // Draws factors: 0 with the probability `rate`, else 1 / keep_rate.
  void draw(float *to, double rate, double keep_rate, int64_t batch, int64_t steps, int64_t units, const int64_t *examples, int64_t site) const {
    peephole_dropout_mask problem{};
    problem.threads = settings.threads;
    problem.threshold = int32_t(std::min(int64_t(std::nearbyint(rate * 4294967296.0)) - (int64_t(1) << 31), int64_t(INT32_MAX)));
    problem.keep_rate = float(keep_rate);
    problem.batch = batch;
    problem.steps = steps;
    problem.units = units;
    problem.place = site;
    problem.examples = examples;
    problem.unit_keys = unit_keys;
    problem.mask = to;
    make_mask(problem);
  }

  // The array of a gradient, given by its view.
  static T *to(const MatrixView &view) { return reinterpret_cast<T *>(const_cast<unsigned char *>(view.numbers)); }
  static const T *in(const MatrixView &view) { return reinterpret_cast<const T *>(view.numbers); }

  // Calls body(row) for every row of [0, rows), in tasks of kRows.
  template <int64_t kRows = 64, class Body>
  void for_rows(int64_t rows, Body body) const {
    for_tasks(settings.threads, (rows + kRows - 1) / kRows, [&](int64_t task, int) {
      for (int64_t row = task * kRows; row < std::min(rows, (task + 1) * kRows); ++row) body(row);
    });
  }
  // Calls body(b) for every sequence of a batch.
  template <class Body>
  void for_sequences(int64_t batch, Body body) const {
    for_rows<8>(batch, body);
  }
};

// Numbers of peephole_dropout_mask.
constexpr uint64_t kGolden = 0x9E3779B9;
inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}
inline uint32_t unit_key(uint64_t unit) { return uint32_t(mixed((unit + 1) * kGolden)); }
inline int32_t random_bits(uint64_t example, uint64_t site, uint64_t step, uint32_t key) {
  uint32_t x = uint32_t(mixed(mixed(example ^ site) + (step + 1) * kGolden)) ^ key;
  x *= 0x85EBCA6B;
  x = (x ^ (x >> 15)) * 0xC2B2AE35;
  return int32_t(x);
}

// Copies numbers.
template <class T>
inline void copy(T *to, const T *from, int64_t size) {
  std::memcpy(to, from, size_t(size) * sizeof(T));
}
template <class T>
inline void clear(T *to, int64_t size) {
  std::memset(to, 0, size_t(size) * sizeof(T));
}

}  // namespace
