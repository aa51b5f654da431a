// Additive attention with K heads, (24), (25), for prediction. Head k has block k of the rows of W_s, W_h, v and W_v:
//
//     e^k_j = v_kᵀ tanh(W_s^k s + W_h^k h_j)        c = W_o [c^1 ; … ; c^K], c^k = Σ_j α^k_j W_v^k h_j
#pragma once

#include "cell/packed_attention.h"

namespace {

// A row's numbers: the mean of the heads' weights, then α^1_j, …, α^K_j. A source's outputs are its values W_v h_j.
class PackedMultihead final : public PackedAlignment {
 public:
  PackedMultihead(const NumberFormat &format, const peephole::NetworkView &view)
      : PackedAlignment(format, view), heads_(view.heads), M_(view.encoder_size) {
    pack_matrix(format, query_, view.weight_query, 0, view.hidden_size);
    pack_matrix(format, values_, view.weight_values, 0, M_);
    pack_matrix(format, output_, view.weight_output, 0, M_);
    read_padded(vector_, view.vector);
  }
  int64_t numbers(int64_t length) const override { return (1 + heads_) * length; }
  int64_t heads() const override { return heads_; }
  void bend(const AttentionRow &row, const float *weights) const override {
    const int64_t length = row.source->length;
    for (int64_t k = 0; k <= heads_; ++k) std::memcpy(row.weights + k * length, weights, size_t(length) * sizeof(float));
  }

  void keep(const EncodedSources &from, SourceSlot *const *slots, AttentionScratch &scratch) const override {
    PackedAlignment::keep(from, slots, scratch);
    const float *row = project(values_, from, scratch);
    for (int64_t b = 0; b < from.count; ++b)
      for (int64_t j = 0; j < slots[b]->length; ++j, row += values_.columns())
        std::memcpy(slots[b]->outputs.at(j * M_), row, size_t(M_) * sizeof(float));
  }

  void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const override {
    const int64_t width = query_.columns();
    scratch.queries.reserve(n * width);
    query_.multiply(states, scratch.queries.at(0), width);
    for (int64_t m = 0; m < n; ++m) {
      const int64_t length = rows[m].source->length;
      for (int64_t k = 0; k < heads_; ++k)
        weigh_head(k, source(*rows[m].source), scratch.queries.at(m * width), rows[m].weights + (1 + k) * length);
      for (int64_t j = 0; j < length; ++j) {
        float sum = 0;
        for (int64_t k = 1; k <= heads_; ++k) sum += rows[m].weights[k * length + j];
        rows[m].weights[j] = sum / float(heads_);
      }
    }
  }

  void find_contexts(int64_t n, const AttentionRow *rows, float *to, int64_t stride,
                     AttentionScratch &scratch) const override {
    scratch.outputs.reserve(n);
    scratch.selection.clear(n);
    scratch.line.reserve(in_lanes<float>(M_));
    for (int64_t m = 0; m < n; ++m) {
      std::memset(scratch.line.at(0), 0, size_t(in_lanes<float>(M_)) * sizeof(float));
      for (int64_t k = 0; k < heads_; ++k) sum_head(k, rows[m], scratch.line.at(0));
      scratch.outputs.put(m, scratch.line.at(0));
      scratch.selection.add(scratch.outputs, m);
    }
    output_.multiply(scratch.selection, to, stride);
  }

 private:
  static constexpr int L = kLanes<float>;
  int64_t heads_, M_;
  Matrix query_, values_, output_;
  Buffer<float> vector_;

  // α^k_j of the queries of all heads.
  void weigh_head(int64_t k, Source<float> from, const float *query, float *weights) const {
    const int64_t A = from.key_size, first = k * A / heads_, end = (k + 1) * A / heads_;
    for (int64_t j = 0; j < from.length; ++j) {
      Vector<float> sum{};
      for (int64_t a = first; a < end; a += L) {
        Vector<float> z = load(from.keys + j * A + a, end - a) + load(query + a, end - a);
        sum = fma(tanh<float>(z), load(vector_.at(a), end - a), sum);
      }
      weights[j] = sum_of<float>(sum);
    }
    normalize_energies(weights, from.length);
  }

  // Sets the numbers of c^k in `contexts`, (M).
  void sum_head(int64_t k, const AttentionRow &row, float *contexts) const {
    const Source<float> from = source(*row.source);
    const float *weights = row.weights + (1 + k) * from.length;
    const int64_t end = (k + 1) * M_ / heads_;
    for (int64_t unit = k * M_ / heads_; unit < end; unit += L) {
      Vector<float> sum{};
      for (int64_t j = 0; j < from.length; ++j)
        sum = fma(splat(weights[j]), load(from.memory + j * M_ + unit, end - unit), sum);
      store(contexts + unit, sum, end - unit);
    }
  }
};

}  // namespace
