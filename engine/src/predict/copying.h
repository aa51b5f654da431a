// Copying in prediction, (26), (27): the gate, and the mixture of a row's vocabulary with the symbols of its source.
#pragma once

#include <cfloat>
#include <cmath>

#include "cell/packed_attention.h"

namespace {

// w_gᵀ [s ; c ; E(y)] + b_g, with the part of each symbol y computed once.
class CopyGate {
 public:
  void pack(const peephole::NetworkView &view) {
    const int64_t H = view.hidden_size, M = view.encoder_size, E = view.embedding_size;
    read_part(state_, view.gate_weight, 0, H);
    read_part(context_, view.gate_weight, H, M);
    Buffer<float> weights, line;
    read_part(weights, view.gate_weight, H + M, E);
    float bias;
    read_row(view.gate_bias, 0, 0, 1, &bias);
    symbols_.reserve(view.target_embedding.rows);
    for (int64_t y = 0; y < view.target_embedding.rows; ++y) {
      read_padded(line, view.target_embedding, y);
      *symbols_.at(y) = product(weights.at(0), line.at(0), in_lanes<float>(E)) + bias;
    }
    units_ = in_lanes<float>(H);
    memory_ = in_lanes<float>(M);
  }
  bool copies() const { return units_ > 0; }
  float logit(int32_t symbol, const float *state, const float *context) const {
    return *symbols_.at(symbol) + product(state_.at(0), state, units_) + product(context_.at(0), context, memory_);
  }

 private:
  int64_t units_ = 0, memory_ = 0;
  Buffer<float> state_, context_, symbols_;

  static void read_part(Buffer<float> &to, const MatrixView &weights, int64_t first, int64_t count) {
    to.reserve(in_lanes<float>(count));
    std::memset(to.at(0), 0, size_t(in_lanes<float>(count)) * sizeof(float));
    read_row(weights, 0, first, count, to.at(0));
  }
  static float product(const float *a, const float *b, int64_t size) {
    Vector<float> sum{};
    for (int64_t i = 0; i < size; i += kLanes<float>) sum = fma(load(a + i), load(b + i), sum);
    return sum_of<float>(sum);
  }
};

// Keeps what the steps copy from a source; `num_symbols` is V.
inline void keep_copies(SourceSlot &slot, const int32_t *copies, int64_t num_symbols) {
  slot.copies.reserve(slot.length);
  slot.num_texts = 0;
  for (int64_t j = 0; j < slot.length; ++j) {
    *slot.copies.at(j) = copies[j];
    if (copies[j] - num_symbols >= slot.num_texts) slot.num_texts = copies[j] - num_symbols + 1;
  }
}

inline double log_sigmoid(double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }

// log(e^a + e^b)
inline double log_sum(double a, double b) {
  const double most = a > b ? a : b, least = a > b ? b : a;
  return most + std::log1p(std::exp(least - most));
}

// (27): `to` becomes log p of each of V symbols and of the source's texts, from log p_vocab. `sums` is memory for as many.
inline void mix_copies(const AttentionRow &row, int64_t num_symbols, const float *log_vocabulary, float gate, float *sums,
                       float *to) {
  const SourceSlot &source = *row.source;
  const double log_generate = log_sigmoid(gate), log_copy = log_sigmoid(-gate);
  for (int64_t v = 0; v < num_symbols; ++v) to[v] = float(double(log_vocabulary[v]) + log_generate);
  for (int64_t j = 0; j < source.length; ++j) sums[*source.copies.at(j)] = 0;
  for (int64_t j = 0; j < source.length; ++j) sums[*source.copies.at(j)] += row.weights[j];
  for (int64_t j = 0; j < source.length; ++j) {
    const int32_t y = *source.copies.at(j);
    if (sums[y] < 0) continue;  // it occurred before
    const double copied = std::log(double(sums[y] < FLT_MIN ? FLT_MIN : sums[y])) + log_copy;
    to[y] = float(y < num_symbols ? log_sum(to[y], copied) : copied);
    sums[y] = -1;
  }
}

}  // namespace
