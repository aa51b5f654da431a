// Additive attention with K heads, (24), (25). Head k has block k of the rows of W_s, W_h, v and W_v:
//
//     e^k_j = v_kᵀ tanh(W_s^k s + W_h^k h_j)        c = W_o [c^1 ; … ; c^K], c^k = Σ_j α^k_j W_v^k h_j
//
// In training the source's memory holds the values W_v h_j.
#pragma once

#include "cell/attention_additive.h"

namespace {

// Block k of a row of `size` numbers that `heads` heads share.
inline Units units_of_head(int64_t k, int64_t heads, int64_t size) { return {k * size / heads, (k + 1) * size / heads}; }

// Sets the numbers of c^k in `contexts`, (M).
template <class T>
inline void sum_head(Source<T> source, Units units, const T *weights, T *contexts) {
  for (int64_t unit = units.first; unit < units.end; unit += kLanes<T>) {
    Vector<T> sum{};
    for (int64_t j = 0; j < source.length; ++j)
      sum = fma(splat(weights[j]), load(source.memory + j * source.memory_size + unit, units.end - unit), sum);
    store(contexts + unit, sum, units.end - unit);
  }
}

// The weights of all heads and [c^1 ; … ; c^K] of each step, saved for the gradients.
template <class Rows>
struct SavedHeads {
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  const Rows &rows;
  const int64_t K;
  T *weights;   // (rows, K, T)
  O *contexts;  // (rows, Mp)

  explicit SavedHeads(Rows &decoder) : rows(decoder), K(decoder.p.heads) {
    const int64_t steps = rows.p.batch * rows.p.steps;
    weights = decoder.kept.template take<T>(steps * K * rows.S);
    contexts = decoder.kept.template take<O>(steps * padded<T>(rows.M));
  }
  T *of(int64_t at, int64_t k) const { return weights + (at * K + k) * rows.S; }
  O *contexts_of(int64_t at) const { return contexts + at * rows.memory_units; }
  Units of_key(int64_t k) const { return units_of_head(k, K, rows.A); }
  Units of_value(int64_t k) const { return units_of_head(k, K, rows.M); }
};

template <class Rows>
class MultiheadForward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  explicit MultiheadForward(Rows &decoder)
      : rows(decoder), queries(decoder), saved(decoder), query(decoder, queries, nullptr) {
    const int64_t B = rows.p.batch, M = padded<T>(rows.M);
    panels = rows.scratch.template take<O>(M * M);
    contexts = rows.scratch.template take<T>(B * M);
    means = rows.scratch.template take<T>(B * rows.S);
    ranks = rows.scratch.template take<int64_t>(B);
    pointers = rows.scratch.template take<const O *>(B);
  }

  int64_t blocks() const { return query.blocks() + rows.memory_units / L; }
  void pack(int64_t block) const {
    if (block < query.blocks()) return query.pack(block);
    const int64_t unit = (block - query.blocks()) * L;
    pack_gates(panels + unit * rows.memory_units, static_cast<const T *>(rows.p.weight_output), rows.M, rows.M,
               rows.memory_units, {0}, unit, rows.M);
  }

  void begin(int64_t part, int64_t step) const {
    const Walk &walk = rows.walk;
    const int64_t alive = walk.alive(part, step), stride = rows.memory_units;
    query.begin(part, step);
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) {
      const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), b = walk.order[rank];
      ranks[b] = rank;
      weigh_heads(at, b, contexts + rank * stride);
      left[q] = saved.contexts_of(at);
    }
    for (int64_t unit = 0; unit < stride; unit += L)
      for_tiles<kTileRows<O>>(alive, [&](int64_t q, int64_t n) {
        tile_of<O>(n, 1)(stride, left + q, panels + unit * stride, nullptr, 0,
                         contexts + walk.rank(part, q) * stride + unit, walk.parts * stride);
      });
  }
  void weigh(int64_t, int64_t) const {}
  // The mean of the heads' weights.
  const T *alpha(int64_t at) const { return means + rows.walk.position[at] / rows.p.steps * rows.S; }
  Vector<T> context(int64_t, int64_t b, int64_t unit) const {
    return load(contexts + ranks[b] * rows.memory_units + unit);
  }

 private:
  static constexpr int L = kLanes<T>;
  Rows &rows;
  const SavedQueries<Rows> queries;
  const SavedHeads<Rows> saved;
  const QueryForward<Rows> query;
  O *panels;       // W_o, packed by pack_gates
  T *contexts;     // (B, Mp): of a step, by rank
  T *means;        // (B, T): of a step
  int64_t *ranks;  // of each sequence
  const O **pointers;

  // The weights of a row, and [c^1 ; … ; c^K] in `line`, (Mp), and as operands of W_o.
  void weigh_heads(int64_t at, int64_t b, T *line) const {
    const Source<T> from = source_of<T>(rows.p, b);
    T *mean = means + b * rows.S;
    for (int64_t k = 0; k < saved.K; ++k) {
      T *weights = saved.of(at, k);
      weigh_additive(from, saved.of_key(k), static_cast<const T *>(rows.p.vector), queries.of(at), weights);
      sum_head(from, saved.of_value(k), weights, line);
      for (int64_t j = 0; j < from.length; ++j) mean[j] = k ? mean[j] + weights[j] : weights[j];
    }
    for (int64_t j = 0; j < from.length; ++j) mean[j] /= T(saved.K);
    copy_operands(saved.contexts_of(at), line, rows.M, rows.memory_units);
  }
};

template <class Rows>
class MultiheadBackward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  MultiheadBackward(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), d(given), queries(decoder), saved(decoder), to(decoder, given),
        query(decoder, given) {
    const int64_t B = rows.p.batch, steps = B * rows.p.steps, M = padded<T>(rows.M);
    panels = rows.scratch.template take<O>(M * M);
    context_rows = rows.scratch.template take<O>(steps * M);
    tiles = rows.scratch.template take<O>(most_tiled<O>(rows.M) * most_in_steps<O>(steps));
    heads = rows.scratch.template take<T>(B * M);
    means = rows.scratch.template take<T>(B * rows.S);
    vectors = rows.scratch.template take<T>(B * padded<T>(rows.A));
    pointers = rows.scratch.template take<const O *>(B);
  }

  int64_t blocks() const { return query.blocks() + rows.memory_units / L; }
  void pack(int64_t block) const {
    if (block < query.blocks()) return query.pack(block);
    const int64_t M = rows.M, first = (block - query.blocks()) * L;
    const auto *weight = static_cast<const T *>(rows.p.weight_output);
    pack_rows(panels, M, rows.memory_units, first, first + L,
              [=](int64_t k) { return k < M ? weight + k * M : nullptr; });
  }
  void clear() const {
    to.clear();
    query.clear();
    std::memset(vectors, 0, size_t(rows.p.batch * rows.key_units) * sizeof(T));
  }
  const T *state_gradient() const { return query.state_gradient(); }

  void step(int64_t part, int64_t step, const T *contexts) const {
    const Walk &walk = rows.walk;
    const int64_t alive = walk.alive(part, step), stride = rows.memory_units;
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) {
      O *line = context_rows + walk.row(part, step, q) * stride;
      copy_operands(line, contexts + walk.rank(part, q) * stride, rows.M, stride);
      left[q] = line;
    }
    multiply_panels<O>(alive, left, stride, panels, rows.M, [&](int64_t q, int64_t unit, Vector<T> sum) {
      store(heads + walk.rank(part, q) * stride + unit, sum);
    });
    for (int64_t q = 0; q < alive; ++q) through_heads(walk.row(part, step, q), walk.rank(part, q));
    query.step(part, step);
  }

  void chunk(int64_t chunk) const {
    pack_tiles(tiles, rows.M, rows.walk.rows, chunk * kStepRows,
               [&](int64_t at) -> const O * { return saved.contexts_of(at); });
  }
  void weights(int64_t block, const O *hidden_tiles, GradientMemory<T, O> memory) const {
    if (block < query.blocks()) return query.weights(block, hidden_tiles, memory);
    const int64_t unit = (block - query.blocks()) * L, M = rows.M;
    const Factor<T, O> left[] = {{tiles, M, static_cast<T *>(d.weight_output), M}};
    weight_gradient<T, O, 1>(context_rows + unit, rows.memory_units, rows.walk.rows, left, 1, nullptr, {0}, unit, M,
                             memory);
  }
  void finish() const {
    sum_sequences(vectors, rows.p.batch, rows.key_units, rows.A, static_cast<T *>(d.vector));
  }

 private:
  static constexpr int L = kLanes<T>;
  Rows &rows;
  const peephole_decoder_gradients &d;
  const SavedQueries<Rows> queries;
  const SavedHeads<Rows> saved;
  const SourceGradients<Rows> to;
  const QueryBackward<Rows> query;
  O *panels;        // W_o, packed by pack_rows
  O *context_rows;  // (rows, Mp): gradients of the contexts
  O *tiles;         // [c^1 ; … ; c^K] of all rows, packed by pack_tiles
  T *heads;         // (B, Mp): gradient of [c^1 ; … ; c^K], by rank
  T *means;         // (B, T): gradient of a head's weights as a part of their mean, by rank
  T *vectors;       // (B, Ap): gradient of v, by sequence
  const O **pointers;

  void through_heads(int64_t at, int64_t rank) const {
    const int64_t b = rows.walk.order[rank];
    const Source<T> from = source_of<T>(rows.p, b);
    const T *given = to.weights(at);
    T *energies = to.energies_of(rank), *d_query = to.query_of(rank), *mean = means + rank * rows.S;
    for (int64_t j = 0; given && j < from.length; ++j) mean[j] = given[j] / T(saved.K);
    for (int64_t k = 0; k < saved.K; ++k) {
      context_gradient(from, saved.of_value(k), saved.of(at, k), heads + rank * rows.memory_units,
                       given ? mean : nullptr, to.memory(b), energies);
      additive_gradient(from, saved.of_key(k), static_cast<const T *>(rows.p.vector), queries.of(at), energies,
                        to.keys(b), vectors + b * rows.key_units, d_query);
    }
    query.keep(at, d_query);
  }
};

// A row's numbers: the mean of the heads' weights, then α^1_j, …, α^K_j. A source's outputs are its values W_v h_j.
class PackedMultihead final : public PackedAlignment {
 public:
  PackedMultihead(const NumberFormat &format, const peephole::NetworkView &view)
      : PackedAlignment(format, view), heads_(view.heads), A_(view.weight_keys.rows), M_(view.encoder_size),
        query_(format, view) {
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
    const float *queries = query_.ask(n, rows, states, scratch);
    for (int64_t m = 0; m < n; ++m) {
      const int64_t length = rows[m].source->length;
      for (int64_t k = 0; k < heads_; ++k)
        weigh_additive(source(*rows[m].source), units_of_head(k, heads_, A_), vector_.at(0),
                       queries + m * query_.width(), rows[m].weights + (1 + k) * length);
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
      for (int64_t k = 0; k < heads_; ++k)
        sum_head(source(*rows[m].source), units_of_head(k, heads_, M_),
                 rows[m].weights + (1 + k) * rows[m].source->length, scratch.line.at(0));
      scratch.outputs.put(m, scratch.line.at(0));
      scratch.selection.add(scratch.outputs, m);
    }
    output_.multiply(scratch.selection, to, stride);
  }

 private:
  int64_t heads_, A_, M_;
  PackedQuery query_;
  Matrix values_, output_;
  Buffer<float> vector_;
};

struct MultiheadTraining {
  template <class Rows>
  using Forward = MultiheadForward<Rows>;
  template <class Rows>
  using Backward = MultiheadBackward<Rows>;
};

}  // namespace
