// The interface of a kind of attention in prediction.
#pragma once

#include "cell/attention.h"
#include "file/network_view.h"
#include "simd/matrix.h"

namespace {

// Sources that the encoder has read.
struct EncodedSources {
  int64_t count;
  const int64_t *lengths;
  const float *outputs;  // (sum of lengths, M): h_j
  const float *last;     // (count, M): the top layer's last state
  int64_t total() const {
    int64_t sum = 0;
    for (int64_t b = 0; b < count; ++b) sum += lengths[b];
    return sum;
  }
};

// What the steps of a source's hypotheses read of it.
struct SourceSlot {
  Buffer<float> outputs, keys;  // (T, M), (T, A), where the kind has keys; for a fixed context (1, M) and nothing
  int64_t length;
};

// A step of one hypothesis.
struct AttentionRow {
  const SourceSlot *source;
  const float *state;  // s_{t-1}, (Hp)
  float *weights;      // α_j, one for each symbol of the source
};

// Memory of one worker.
struct AttentionScratch {
  AttentionScratch(const NumberFormat &format, int64_t memory_size) : outputs(format, in_lanes<float>(memory_size)) {}
  Operands outputs;
  Selection selection;
  Buffer<float> line, keys, queries;
};

// A row of numbers, 0 up to whole vectors, in `line`.
inline float *padded_line(Buffer<float> &line, const float *from, int64_t size) {
  line.reserve(in_lanes<float>(size));
  for (int64_t i = 0; i < size; i += kLanes<float>) store(line.at(i), load(from + i, size - i));
  return line.at(0);
}

// The weights of a kind, packed. All functions but has_weights are called once for many rows, or for a whole row.
class PackedAttention {
 public:
  virtual ~PackedAttention() = default;
  // False: all steps have the same context, and no α_j.
  virtual bool has_weights() const = 0;
  // Fills a slot for each source.
  virtual void keep(const EncodedSources &sources, SourceSlot *const *slots, AttentionScratch &scratch) const = 0;
  // Sets the weights α_j of n rows, (15), (16). `states`: their s_{t-1} as operands.
  virtual void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const = 0;
  // Writes the context of a row, (17) or (8), 0 up to whole vectors.
  virtual void find_context(const AttentionRow &row, float *to) const = 0;
};

// What kinds with keys share.
class PackedAlignment : public PackedAttention {
 public:
  // `weight_keys` without rows: the keys are h_j.
  PackedAlignment(const NumberFormat &format, const peephole::NetworkView &view)
      : M_(view.encoder_size), key_size_(view.weight_keys.rows) {
    if (key_size_) pack_matrix(format, keys_, view.weight_keys, 0, M_);
  }
  bool has_weights() const override { return true; }

  void keep(const EncodedSources &from, SourceSlot *const *slots, AttentionScratch &scratch) const override {
    if (key_size_) find_keys(from, scratch);
    const int64_t columns = keys_.columns();
    for (int64_t b = 0, at = 0; b < from.count; at += from.lengths[b++]) {
      SourceSlot &to = *slots[b];
      to.length = from.lengths[b];
      to.outputs.reserve(to.length * M_);
      std::memcpy(to.outputs.at(0), from.outputs + at * M_, size_t(to.length * M_) * sizeof(float));
      to.keys.reserve(to.length * key_size_);
      for (int64_t j = 0; key_size_ && j < to.length; ++j)
        std::memcpy(to.keys.at(j * key_size_), scratch.keys.at((at + j) * columns), size_t(key_size_) * sizeof(float));
    }
  }

  void find_context(const AttentionRow &row, float *to) const override {
    const Source<float> from = source(*row.source);
    for (int64_t unit = 0; unit < M_; unit += kLanes<float>) store(to + unit, from.context(row.weights, unit));
  }

 protected:
  Source<float> source(const SourceSlot &slot) const {
    const float *outputs = slot.outputs.at(0);
    return {key_size_ ? slot.keys.at(0) : outputs, outputs, slot.length, key_size_ ? key_size_ : M_, M_};
  }

 private:
  int64_t M_, key_size_;
  Matrix keys_;

  // k_j of (15) for all h_j, in scratch.keys.
  void find_keys(const EncodedSources &from, AttentionScratch &scratch) const {
    const int64_t total = from.total();
    scratch.outputs.reserve(total);
    scratch.selection.clear(total);
    for (int64_t i = 0; i < total; ++i) {
      scratch.outputs.put(i, padded_line(scratch.line, from.outputs + i * M_, M_));
      scratch.selection.add(scratch.outputs, i);
    }
    scratch.keys.reserve(total * keys_.columns());
    keys_.multiply(scratch.selection, scratch.keys.at(0), keys_.columns());
  }
};

}  // namespace
