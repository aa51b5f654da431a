// Location-aware attention, (21), and attention with coverage, (22), for prediction.
#pragma once

#include "cell/attention_located.h"
#include "cell/packed_attention.h"

namespace {

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
  PackedLocated(const NumberFormat &format, const peephole::NetworkView &view)
      : PackedAlignment(format, view), query_(format, view) {
    read_padded(vector_, view.vector);
  }
  void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const override {
    const float *queries = query_.ask(n, rows, states, scratch);
    for (int64_t m = 0; m < n; ++m) {
      weigh_located(source(*rows[m].source), vector_.at(0), queries + m * query_.width(), features(rows[m], scratch), locations_.at(0),
                    rows[m].weights);
      carry(rows[m]);
    }
  }

 protected:
  Buffer<float> locations_;  // Uᵀ, (C, Ap)

 private:
  PackedQuery query_;
  Buffer<float> vector_;

  virtual Features<float> features(const AttentionRow &row, AttentionScratch &scratch) const = 0;
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

  Features<float> features(const AttentionRow &row, AttentionScratch &scratch) const override {
    const int64_t length = row.source->length, stride = in_lanes<float>(channels_);
    scratch.features.reserve(length * stride);
    filter_weights(row.before, length, filters_.at(0), width_, channels_, scratch.features.at(0));
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
  Features<float> features(const AttentionRow &row, AttentionScratch &) const override {
    return {row.before + row.source->length, 1, 1};
  }
  void carry(const AttentionRow &row) const override {
    const int64_t length = row.source->length;
    for (int64_t j = 0; j < length; ++j) row.weights[length + j] = row.before[length + j] + row.weights[j];
  }
};

}  // namespace
