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
  Buffer<float> first;          // what the first step of a kind that carries a state reads as AttentionRow::before
  int64_t length;
  Buffer<int32_t> copies;  // of a network that copies: the target symbol of each symbol, V and above for other texts
  int64_t num_texts = 0;   // those other texts
};

// A step of one hypothesis.
struct AttentionRow {
  const SourceSlot *source;
  const float *state;   // s_{t-1}, (Hp)
  const float *asked;   // W_y E(y_{t-1}) of (67), 0 up to whole vectors; NULL: not read
  const float *before;  // `weights` of the step that this one continues
  float *weights;       // α_j, one for each symbol of the source, and what else the kind keeps
};

// Memory of one worker.
struct AttentionScratch {
  AttentionScratch(const NumberFormat &format, int64_t memory_size) : outputs(format, in_lanes<float>(memory_size)) {}
  Operands outputs;
  Selection selection;
  Buffer<float> line, keys, queries, features;
};

// A row of numbers, 0 up to whole vectors, in `line`.
inline float *padded_line(Buffer<float> &line, const float *from, int64_t size) {
  line.reserve(in_lanes<float>(size));
  for (int64_t i = 0; i < size; i += kLanes<float>) store(line.at(i), load(from + i, size - i));
  return line.at(0);
}

// The weights of a kind, packed. Functions are called once for many rows.
class PackedAttention {
 public:
  virtual ~PackedAttention() = default;
  // False: all steps have the same context, and no α_j.
  virtual bool has_weights() const = 0;
  // The numbers in AttentionRow::weights for a source of that length: at least one for each symbol.
  virtual int64_t numbers(int64_t length) const { return length; }
  // Fills a slot for each source.
  virtual void keep(const EncodedSources &sources, SourceSlot *const *slots, AttentionScratch &scratch) const = 0;
  // Sets the weights of n rows, (15), (16). `states`: their s_{t-1} as operands.
  virtual void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const = 0;
  // The heads whose weights follow the mean in AttentionRow::weights; 0: there is one, whose weights those are.
  virtual int64_t heads() const { return 0; }
  // Gives a row the weights α_j in place of those that `weigh` has set.
  virtual void bend(const AttentionRow &row, const float *weights) const {
    std::memcpy(row.weights, weights, size_t(row.source->length) * sizeof(float));
  }
  // Writes the contexts of n rows, (17) or (8), each 0 up to whole vectors and `stride` numbers from the next.
  virtual void find_contexts(int64_t n, const AttentionRow *rows, float *to, int64_t stride,
                             AttentionScratch &scratch) const = 0;
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
    if (key_size_) project(keys_, from, scratch);
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

  void find_contexts(int64_t n, const AttentionRow *rows, float *to, int64_t stride, AttentionScratch &) const override {
    constexpr int L = kLanes<float>, kChain = 4;  // each sum waits for the one before
    const int64_t vectors = in_lanes<float>(M_) / L;
    int64_t total = 0;
    for (int64_t m = 0; m < n; ++m) total += rows[m].source->length;
    share_range(total * M_ * kChain, n * vectors, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const AttentionRow &row = rows[i / vectors];
        const int64_t unit = i % vectors * L;
        store(to + i / vectors * stride + unit, source(*row.source).context(row.weights, unit));
      }
    });
  }

 protected:
  Source<float> source(const SourceSlot &slot) const {
    const float *outputs = slot.outputs.at(0);
    return {key_size_ ? slot.keys.at(0) : outputs, outputs, slot.length, key_size_ ? key_size_ : M_, M_};
  }

  // The products of a matrix with all h_j, in scratch.keys.
  const float *project(const Matrix &matrix, const EncodedSources &from, AttentionScratch &scratch) const {
    const int64_t total = from.total();
    scratch.outputs.reserve(total);
    scratch.selection.clear(total);
    for (int64_t i = 0; i < total; ++i) {
      scratch.outputs.put(i, padded_line(scratch.line, from.outputs + i * M_, M_));
      scratch.selection.add(scratch.outputs, i);
    }
    scratch.keys.reserve(total * matrix.columns());
    matrix.multiply(scratch.selection, scratch.keys.at(0), matrix.columns());
    return scratch.keys.at(0);
  }

 private:
  int64_t M_, key_size_;
  Matrix keys_;
};

// The queries of additive energies: W_s s_{t-1}, and b and W_y E(y_{t-1}), those there are.
class PackedQuery {
 public:
  PackedQuery(const NumberFormat &format, const peephole::NetworkView &view) : has_bias_(view.attention_bias.rows > 0) {
    pack_matrix(format, weight_, view.weight_query, 0, view.hidden_size);
    if (has_bias_) read_padded(bias_, view.attention_bias);
  }
  int64_t width() const { return weight_.columns(); }
  // Those of n rows, each of `width` numbers. `states`: their s_{t-1} as operands.
  float *ask(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const {
    scratch.queries.reserve(n * width());
    weight_.multiply(states, scratch.queries.at(0), width());
    for (int64_t m = 0; m < n; ++m) {
      if (has_bias_) add(scratch.queries.at(m * width()), bias_.at(0));
      if (rows[m].asked) add(scratch.queries.at(m * width()), rows[m].asked);
    }
    return scratch.queries.at(0);
  }

 private:
  bool has_bias_;
  Matrix weight_;
  Buffer<float> bias_;

  void add(float *query, const float *term) const {
    for (int64_t a = 0; a < width(); a += kLanes<float>) store(query + a, load(query + a) + load(term + a));
  }
};

}  // namespace
