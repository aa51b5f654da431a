// Location-aware attention, (21), and attention with coverage, (22), for prediction:
//
//     e_j = vᵀ tanh(W_s s + b + k_j + U f_j), with the keys k_j = W_h h_j
//
// and features f_j of the weights of the steps before: C filters of the last step's α, or the sum of all α.
#pragma once

#include "cell/packed_attention.h"

namespace {

// Features of a source's positions.
struct Features {
  const float *of_first;  // C numbers
  int64_t stride;         // to those of the next position
  int64_t channels;       // C
};

// α_j of a query q = W_s s + b, of A numbers. `locations`: Uᵀ (C, Ap).
inline void weigh_located(Source<float> source, const float *vector, const float *query, Features features,
                          const float *locations, float *weights) {
  constexpr int L = kLanes<float>;
  const int64_t A = source.key_size, width = in_lanes<float>(A);
  for (int64_t j = 0; j < source.length; ++j) {
    const float *f = features.of_first + j * features.stride;
    Vector<float> sum{};
    for (int64_t a = 0; a < A; a += L) {
      Vector<float> z = load(source.keys + j * A + a, A - a) + load(query + a, A - a);
      for (int64_t c = 0; c < features.channels; ++c) z = fma(splat(f[c]), load(locations + c * width + a), z);
      sum = fma(tanh<float>(z), load(vector + a, A - a), sum);
    }
    weights[j] = sum_of<float>(sum);
  }
  normalize_energies(weights, source.length);
}

// The transpose of a matrix of weights, its rows 0 up to whole vectors.
inline void read_transposed(Buffer<float> &to, const MatrixView &from) {
  const int64_t width = in_lanes<float>(from.rows);
  to.reserve(from.columns * width);
  std::memset(to.at(0), 0, size_t(from.columns * width) * sizeof(float));
  Buffer<float> line(from.columns);
  for (int64_t row = 0; row < from.rows; ++row) {
    read_row(from, row, 0, from.columns, line.at(0));
    for (int64_t column = 0; column < from.columns; ++column) *to.at(column * width + row) = *line.at(column);
  }
}

// What both kinds share: the query and the energies.
class PackedLocated : public PackedAlignment {
 public:
  PackedLocated(const NumberFormat &format, const peephole::NetworkView &view) : PackedAlignment(format, view) {
    pack_matrix(format, query_, view.weight_query, 0, view.hidden_size);
    read_padded(vector_, view.vector);
    read_padded(bias_, view.attention_bias);
  }
  void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const override {
    const int64_t width = query_.columns();
    scratch.queries.reserve(n * width);
    query_.multiply(states, scratch.queries.at(0), width);
    for (int64_t m = 0; m < n; ++m) {
      float *query = scratch.queries.at(m * width);
      for (int64_t a = 0; a < width; a += kLanes<float>) store(query + a, load(query + a) + load(bias_.at(a)));
      weigh_located(source(*rows[m].source), vector_.at(0), query, features(rows[m], scratch), locations_.at(0),
                    rows[m].weights);
      carry(rows[m]);
    }
  }

 protected:
  Buffer<float> locations_;  // Uᵀ, (C, Ap)

 private:
  Matrix query_;
  Buffer<float> vector_, bias_;

  virtual Features features(const AttentionRow &row, AttentionScratch &scratch) const = 0;
  // Writes what the next step reads besides α.
  virtual void carry(const AttentionRow &) const {}
};

class PackedLocation final : public PackedLocated {
 public:
  PackedLocation(const NumberFormat &format, const peephole::NetworkView &view)
      : PackedLocated(format, view), channels_(view.filters.rows), width_(view.filters.columns) {
    read_transposed(filters_, view.filters);
    read_transposed(locations_, view.weight_location);
  }
  // α_0 is uniform.
  void keep(const EncodedSources &from, SourceSlot *const *slots, AttentionScratch &scratch) const override {
    PackedLocated::keep(from, slots, scratch);
    for (int64_t b = 0; b < from.count; ++b) {
      slots[b]->first.reserve(slots[b]->length);
      for (int64_t j = 0; j < slots[b]->length; ++j) *slots[b]->first.at(j) = 1 / float(slots[b]->length);
    }
  }

 private:
  int64_t channels_, width_;
  Buffer<float> filters_;  // Fᵀ, (R, Cp)

  // f_jc = Σ_r F_cr α_{j + r}, r from -(R - 1) / 2 on; α is 0 outside the source.
  Features features(const AttentionRow &row, AttentionScratch &scratch) const override {
    const int64_t length = row.source->length, stride = in_lanes<float>(channels_), reach = width_ / 2;
    scratch.features.reserve(length * stride);
    for (int64_t j = 0; j < length; ++j) {
      const int64_t first = j < reach ? reach - j : 0, end = length + reach - j < width_ ? length + reach - j : width_;
      for (int64_t c = 0; c < channels_; c += kLanes<float>) {
        Vector<float> sum{};
        for (int64_t r = first; r < end; ++r)
          sum = fma(splat(row.before[j + r - reach]), load(filters_.at(r * stride + c)), sum);
        store(scratch.features.at(j * stride + c), sum);
      }
    }
    return {scratch.features.at(0), stride, channels_};
  }
};

// A row's numbers: α_j, then the coverage after the step.
class PackedCoverage final : public PackedLocated {
 public:
  PackedCoverage(const NumberFormat &format, const peephole::NetworkView &view) : PackedLocated(format, view) {
    read_padded(locations_, view.weight_coverage);
  }
  int64_t numbers(int64_t length) const override { return 2 * length; }
  void bend(const AttentionRow &row, const float *weights) const override {
    PackedAttention::bend(row, weights);
    carry(row);
  }
  void keep(const EncodedSources &from, SourceSlot *const *slots, AttentionScratch &scratch) const override {
    PackedLocated::keep(from, slots, scratch);
    for (int64_t b = 0; b < from.count; ++b) {
      slots[b]->first.reserve(numbers(slots[b]->length));
      std::memset(slots[b]->first.at(0), 0, size_t(numbers(slots[b]->length)) * sizeof(float));
    }
  }

 private:
  Features features(const AttentionRow &row, AttentionScratch &) const override {
    return {row.before + row.source->length, 1, 1};
  }
  void carry(const AttentionRow &row) const override {
    const int64_t length = row.source->length;
    for (int64_t j = 0; j < length; ++j) row.weights[length + j] = row.before[length + j] + row.weights[j];
  }
};

}  // namespace
