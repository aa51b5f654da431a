// What all kinds of attention share in training: of one decoder step for one sequence, weights and context, (16), (17),
// and their gradients.
//
// A kind is one file, attention_*.h; attention_kinds.h lists them. It is a PackedAttention for prediction, and, where the
// engine also trains it, a struct with two types:
//   Forward<Rows>(rows), training:
//     blocks(), pack(block)           packs its weights, in tasks
//     begin(part, step)               the queries of a step
//     weigh(at, b)                    the weights α_j of a row, for sequence b
//     context(at, b, unit)            L numbers of its context
//     alpha(at)                       the weights of a row; NULL without attention
//   Backward<Rows>(rows, gradients):
//     blocks(), pack(block), clear()  as above; and clears the gradients that are sums
//     step(part, step, contexts)      from the gradients of a step's contexts, by rank, to the source and to s_{t-1}
//     state_gradient()                where `step` leaves that of s_{t-1}, (B, Hp) by rank; NULL: s_{t-1} is not read
//     chunk(chunk)                    packs kStepRows rows for `weights`, in tasks, after all steps
//     weights(block, states, memory)  the gradients of its weights, in tasks, after that; then finish()
// Rows is the DecoderRows of train/decoder.h: the arrays of a call, by row. A kind takes what backward reads from
// rows.kept, in the same order in Forward and Backward, and its other memory from rows.scratch.
#pragma once

#include "peephole.h"
#include "simd/operand.h"
#include "simd/ragged_batch.h"

namespace {

// One sequence's source.
template <class T>
struct Source {
  const T *keys;    // (length, A)
  const T *memory;  // (length, M): h_j
  int64_t length, key_size, memory_size;

  // Σ_j α_j h_j, (17), L numbers from `unit` on.
  Vector<T> context(const T *weights, int64_t unit) const {
    Vector<T> sum{};
    for (int64_t j = 0; j < length; ++j)
      sum = fma(splat(weights[j]), load(memory + j * memory_size + unit, memory_size - unit), sum);
    return sum;
  }
};

// Numbers [first, end) of a row: those of one head, or all.
struct Units {
  int64_t first, end;
};

// Energies e_j become weights α_j, (16).
template <class T>
inline void normalize_energies(T *energies, int64_t length) {
  constexpr int L = kLanes<T>;
  T most = energies[0], total = 0;
  for (int64_t j = 1; j < length; ++j)
    if (energies[j] > most) most = energies[j];
  for (int64_t j = 0; j < length; j += L) {
    Vector<T> e = exponential<T>(load(energies + j, length - j) - splat(most));
    store(energies + j, e, length - j);
    for (int64_t i = j; i < length && i < j + L; ++i) total += energies[i];
  }
  for (int64_t j = 0; j < length; ++j) energies[j] /= total;
}

// (17), (16): given the gradients of some units of a step's context and of its weights (NULL: 0), adds to that of
// `memory` (length, M) and sets that of the energies.
template <class T>
inline void context_gradient(Source<T> source, Units units, const T *weights, const T *d_context, const T *d_weights,
                             T *memory, T *energies) {
  constexpr int L = kLanes<T>;
  const int64_t M = source.memory_size;
  T mean = 0;
  for (int64_t j = 0; j < source.length; ++j) {
    Vector<T> sum{}, alpha = splat(weights[j]);
    for (int64_t m = units.first; m < units.end; m += L) {
      Vector<T> dc = load(d_context + m, units.end - m);
      T *to = memory + j * M + m;
      sum = fma(dc, load(source.memory + j * M + m, units.end - m), sum);
      store(to, fma(alpha, dc, load(to, units.end - m)), units.end - m);
    }
    energies[j] = sum_of<T>(sum);
    if (d_weights) energies[j] += d_weights[j];
    mean += weights[j] * energies[j];
  }
  for (int64_t j = 0; j < source.length; ++j) energies[j] = weights[j] * (energies[j] - mean);
}

// What a kind without weights of its own inherits.
struct NoAttentionWeights {
  int64_t blocks() const { return 0; }
  void pack(int64_t) const {}
  void chunk(int64_t) const {}
  template <class Operand, class Memory>
  void weights(int64_t, const Operand *, Memory) const {}
  void finish() const {}
};

// The caller's source of a sequence.
template <class T>
inline Source<T> source_of(const peephole_decoder &p, int64_t b) {
  const auto *keys = static_cast<const T *>(p.keys), *memory = static_cast<const T *>(p.memory);
  const int64_t first = b * p.source_steps;
  return {keys + first * p.key_size, memory + first * p.memory_size, p.source_lengths[b], p.key_size, p.memory_size};
}

// The weights α_j of each step, saved for the gradients, and the sources they weigh.
template <class Rows>
struct SavedWeights {
  using T = typename Rows::Number;
  const peephole_decoder &p;
  T *all;  // (rows, T)

  explicit SavedWeights(Rows &rows) : p(rows.p), all(rows.kept.template take<T>(p.batch * p.steps * p.source_steps)) {}
  T *of(int64_t at) const { return all + at * p.source_steps; }
  Source<T> source(int64_t b) const { return source_of<T>(p, b); }
};

// The gradients of memory, keys, energies and queries.
template <class Rows>
struct SourceGradients {
  using T = typename Rows::Number;
  const Rows &rows;
  const peephole_decoder_gradients &d;
  T *energies;  // (B, T): by rank
  T *queries;   // (B, Ap): by rank

  SourceGradients(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), d(given), energies(decoder.scratch.template take<T>(rows.p.batch * rows.S)),
        queries(decoder.scratch.template take<T>(rows.p.batch * padded<T>(rows.A))) {}
  T *keys(int64_t b) const { return static_cast<T *>(d.keys) + b * rows.S * rows.A; }
  T *memory(int64_t b) const { return static_cast<T *>(d.memory) + b * rows.S * rows.M; }
  const T *weights(int64_t at) const {
    return d.weights ? static_cast<const T *>(d.weights) + rows.walk.position[at] * rows.S : nullptr;
  }
  T *energies_of(int64_t rank) const { return energies + rank * rows.S; }
  T *query_of(int64_t rank) const { return queries + rank * rows.key_units; }
  void clear() const {
    std::memset(d.memory, 0, size_t(rows.p.batch * rows.S * rows.M) * sizeof(T));
    std::memset(d.keys, 0, size_t(rows.p.batch * rows.S * rows.A) * sizeof(T));
  }
};

}  // namespace
