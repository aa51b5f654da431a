// Additive attention, (15): e_j = vᵀ tanh(W_s s + k_j), with the keys k_j = W_h h_j.
#pragma once

#include "cell/attention_query.h"
#include "cell/packed_attention.h"

namespace {

// e_j of the symbols [first, last) of a source, for some units of a query q = W_s s, of A numbers.
template <class T>
inline void find_additive_energies(Source<T> source, Units units, const T *vector, const T *query, int64_t first,
                                   int64_t last, T *energies) {
  const int64_t A = source.key_size, end = units.end;
  for (int64_t j = first; j < last; ++j) {
    Vector<T> sum{};
    for (int64_t a = units.first; a < end; a += kLanes<T>) {
      Vector<T> k = load(source.keys + j * A + a, end - a), q = load(query + a, end - a);
      sum = fma(tanh<T>(k + q), load(vector + a, end - a), sum);
    }
    energies[j] = sum_of<T>(sum);
  }
}

// α_j of some units of a query.
template <class T>
inline void weigh_additive(Source<T> source, Units units, const T *vector, const T *query, T *weights) {
  find_additive_energies(source, units, vector, query, 0, source.length, weights);
  normalize_energies(weights, source.length);
}

// Given the gradients of energies, adds to those of `keys` (length, A) and of v, `d_vector` (Ap), and sets that of the
// query's units. Not inlined: within a longer function its sums do not stay in registers.
template <class T>
[[gnu::noinline]] void additive_gradient(Source<T> source, Units units, const T *vector, const T *query,
                                         const T *energies, T *keys, T *d_vector, T *d_query) {
  const int64_t A = source.key_size, end = units.end;
  for (int64_t a = units.first; a < end; a += kLanes<T>) {
    Vector<T> dq{}, dv{}, q = load(query + a, end - a), v = load(vector + a, end - a);
    for (int64_t j = 0; j < source.length; ++j) {
      Vector<T> t = tanh<T>(load(source.keys + j * A + a, end - a) + q), de = splat(energies[j]);
      T *to = keys + j * A + a;
      dv = fma(de, t, dv);
      Vector<T> dk = de * v * fma(-t, t, splat<T>(1));
      dq += dk;
      store(to, load(to, end - a) + dk, end - a);
    }
    store(d_query + a, dq, end - a);
    store(d_vector + a, load(d_vector + a) + dv, end - a);
  }
}

template <class Rows>
class AdditiveForward {
 public:
  using T = typename Rows::Number;
  explicit AdditiveForward(Rows &decoder)
      : rows(decoder), saved(decoder), queries(decoder), query(decoder, queries, nullptr) {}

  int64_t blocks() const { return query.blocks(); }
  void pack(int64_t block) const { query.pack(block); }
  void begin(int64_t part, int64_t step) const { query.begin(part, step); }
  void weigh(int64_t at, int64_t b) const {
    weigh_additive(saved.source(b), {0, rows.A}, static_cast<const T *>(rows.p.vector), queries.of(at), saved.of(at));
  }
  const T *alpha(int64_t at) const { return saved.of(at); }
  Vector<T> context(int64_t at, int64_t b, int64_t unit) const { return saved.source(b).context(saved.of(at), unit); }

 private:
  Rows &rows;
  const SavedWeights<Rows> saved;
  const SavedQueries<Rows> queries;
  const QueryForward<Rows> query;
};

template <class Rows>
class AdditiveBackward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  AdditiveBackward(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), d(given), saved(decoder), queries(decoder), to(decoder, given),
        query(decoder, given),
        vectors(rows.scratch.template take<T>(rows.p.batch * padded<T>(rows.A))) {}

  int64_t blocks() const { return query.blocks(); }
  void pack(int64_t block) const { query.pack(block); }
  void clear() const {
    to.clear();
    query.clear();
    std::memset(vectors, 0, size_t(rows.p.batch * rows.key_units) * sizeof(T));
  }
  const T *state_gradient() const { return query.state_gradient(); }

  void step(int64_t part, int64_t step, const T *contexts) const {
    const Walk &walk = rows.walk;
    for (int64_t q = 0; q < walk.alive(part, step); ++q) {
      const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), b = walk.order[rank];
      const Source<T> source = saved.source(b);
      T *energies = to.energies_of(rank), *d_query = to.query_of(rank);
      context_gradient(source, {0, rows.M}, saved.of(at), contexts + rank * rows.memory_units, to.weights(at),
                       to.memory(b), energies);
      additive_gradient(source, {0, rows.A}, static_cast<const T *>(rows.p.vector), queries.of(at), energies,
                        to.keys(b), vectors + b * rows.key_units, d_query);
      query.keep(at, d_query);
    }
    query.step(part, step);
  }

  void chunk(int64_t) const {}
  void weights(int64_t block, const O *hidden_tiles, GradientMemory<T, O> memory) const {
    query.weights(block, hidden_tiles, memory);
  }
  // The gradient of v, the sum of all sequences'.
  void finish() const {
    sum_sequences(vectors, rows.p.batch, rows.key_units, rows.A, static_cast<T *>(d.vector));
  }

 private:
  Rows &rows;
  const peephole_decoder_gradients &d;
  const SavedWeights<Rows> saved;
  const SavedQueries<Rows> queries;
  const SourceGradients<Rows> to;
  const QueryBackward<Rows> query;
  T *vectors;  // (B, Ap): gradient of v, by sequence
};

class PackedAdditive final : public PackedAlignment {
 public:
  PackedAdditive(const NumberFormat &format, const peephole::NetworkView &view)
      : PackedAlignment(format, view), A_(view.weight_keys.rows), query_(format, view) {
    read_padded(vector_, view.vector);
  }
  void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const override {
    const int64_t width = query_.width();
    const float *queries = query_.ask(n, rows, states, scratch);
    int64_t total = 0;
    for (int64_t m = 0; m < n; ++m) total += rows[m].source->length;
    share_range(total * A_ * kTanh, total, [&](int64_t first, int64_t end) {  // of the symbols of all rows
      for (int64_t m = 0, at = 0; m < n && at < end; at += rows[m++].source->length) {
        const Source<float> from = source(*rows[m].source);
        find_additive_energies(from, {0, A_}, vector_.at(0), queries + m * width, first > at ? first - at : 0,
                               end - at < from.length ? end - at : from.length, rows[m].weights);
      }
    });
    for (int64_t m = 0; m < n; ++m) normalize_energies(rows[m].weights, rows[m].source->length);
  }

 private:
  static constexpr int64_t kTanh = 16;  // multiplications
  int64_t A_;
  PackedQuery query_;
  Buffer<float> vector_;
};

struct AdditiveAttention {
  template <class Rows>
  using Forward = AdditiveForward<Rows>;
  template <class Rows>
  using Backward = AdditiveBackward<Rows>;
};

}  // namespace
