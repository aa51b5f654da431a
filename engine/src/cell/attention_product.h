// Dot and general attention, (15): e_j = k_jᵀ s, with the keys k_j = h_j, or W h_j.
#pragma once

#include "cell/packed_attention.h"

namespace {

// α_j of a query of A numbers.
template <class T>
inline void weigh_product(Source<T> source, const T *query, T *weights) {
  const int64_t A = source.key_size;
  for (int64_t j = 0; j < source.length; ++j) {
    Vector<T> sum{};
    for (int64_t a = 0; a < A; a += kLanes<T>)
      sum = fma(load(source.keys + j * A + a, A - a), load(query + a, A - a), sum);
    weights[j] = sum_of<T>(sum);
  }
  normalize_energies(weights, source.length);
}

// Given the gradients of energies, adds to that of `keys` (length, A) and sets that of the query, (Ap).
template <class T>
inline void product_gradient(Source<T> source, const T *query, const T *energies, T *keys, T *d_query) {
  const int64_t A = source.key_size;
  for (int64_t a = 0; a < A; a += kLanes<T>) {
    Vector<T> dq{}, q = load(query + a, A - a);
    for (int64_t j = 0; j < source.length; ++j) {
      Vector<T> de = splat(energies[j]), k = load(source.keys + j * A + a, A - a);
      T *to = keys + j * A + a;
      dq = fma(de, k, dq);
      store(to, load(to, A - a) + de * q, A - a);
    }
    store(d_query + a, dq);
  }
}

template <class Rows>
class ProductForward : public NoAttentionWeights {
 public:
  using T = typename Rows::Number;
  explicit ProductForward(Rows &decoder) : rows(decoder), saved(decoder) {}
  void begin(int64_t, int64_t) const {}
  void weigh(int64_t at, int64_t b) const { weigh_product(saved.source(b), rows.state_before(at), saved.of(at)); }
  const T *alpha(int64_t at) const { return saved.of(at); }
  Vector<T> context(int64_t at, int64_t b, int64_t unit) const { return saved.source(b).context(saved.of(at), unit); }

 private:
  const Rows &rows;
  const SavedWeights<Rows> saved;
};

template <class Rows>
class ProductBackward : public NoAttentionWeights {
 public:
  using T = typename Rows::Number;
  ProductBackward(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), saved(decoder), to(decoder, given) {}
  void clear() const { to.clear(); }
  const T *state_gradient() const { return to.queries; }
  void step(int64_t part, int64_t step, const T *contexts) const {
    for (int64_t q = 0; q < rows.walk.alive(part, step); ++q) {
      const int64_t at = rows.walk.row(part, step, q), rank = rows.walk.rank(part, q), b = rows.walk.order[rank];
      const Source<T> source = saved.source(b);
      T *energies = to.energies_of(rank);
      context_gradient(source, {0, rows.M}, saved.of(at), contexts + rank * rows.memory_units, to.weights(at), to.memory(b),
                       energies);
      product_gradient(source, rows.state_before(at), energies, to.keys(b), to.query_of(rank));
    }
  }

 private:
  const Rows &rows;
  const SavedWeights<Rows> saved;
  const SourceGradients<Rows> to;
};

class PackedProduct final : public PackedAlignment {
 public:
  using PackedAlignment::PackedAlignment;
  void weigh(int64_t n, const AttentionRow *rows, const Selection &, AttentionScratch &) const override {
    for (int64_t m = 0; m < n; ++m) weigh_product(source(*rows[m].source), rows[m].state, rows[m].weights);
  }
};

struct ProductAttention {
  template <class Rows>
  using Forward = ProductForward<Rows>;
  template <class Rows>
  using Backward = ProductBackward<Rows>;
};

}  // namespace
