// Additive attention, (15): e_j = vᵀ tanh(W_s s + k_j), with the keys k_j = W_h h_j.
#pragma once

#include "cell/packed_attention.h"
#include "simd/weight_gradient.h"

namespace {

// α_j of a query q = W_s s, of A numbers.
template <class T>
inline void weigh_additive(Source<T> source, const T *vector, const T *query, T *weights) {
  const int64_t A = source.key_size;
  for (int64_t j = 0; j < source.length; ++j) {
    Vector<T> sum{};
    for (int64_t a = 0; a < A; a += kLanes<T>) {
      Vector<T> k = load(source.keys + j * A + a, A - a), q = load(query + a, A - a);
      sum = fma(tanh<T>(k + q), load(vector + a, A - a), sum);
    }
    weights[j] = sum_of<T>(sum);
  }
  normalize_energies(weights, source.length);
}

// Given the gradients of energies, adds to those of `keys` (length, A) and of v, `d_vector` (Ap), and sets that of the
// query, (Ap). Not inlined: within a longer function its sums do not stay in registers.
template <class T>
[[gnu::noinline]] void additive_gradient(Source<T> source, const T *vector, const T *query, const T *energies,
                                         T *keys, T *d_vector, T *d_query) {
  const int64_t A = source.key_size;
  for (int64_t a = 0; a < A; a += kLanes<T>) {
    Vector<T> dq{}, dv{}, q = load(query + a, A - a), v = load(vector + a, A - a);
    for (int64_t j = 0; j < source.length; ++j) {
      Vector<T> t = tanh<T>(load(source.keys + j * A + a, A - a) + q), de = splat(energies[j]);
      T *to = keys + j * A + a;
      dv = fma(de, t, dv);
      Vector<T> dk = de * v * fma(-t, t, splat<T>(1));
      dq += dk;
      store(to, load(to, A - a) + dk, A - a);
    }
    store(d_query + a, dq);
    store(d_vector + a, load(d_vector + a) + dv);
  }
}

template <class Rows>
struct SavedAdditive : SavedWeights<Rows> {
  using T = typename Rows::Number;
  T *queries;  // (rows, Ap): W_s s_{t-1}
  explicit SavedAdditive(Rows &rows)
      : SavedWeights<Rows>(rows),
        queries(rows.kept.template take<T>(rows.p.batch * rows.p.steps * padded<T>(rows.A))) {}
};

template <class Rows>
class AdditiveForward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  explicit AdditiveForward(Rows &decoder)
      : rows(decoder), saved(decoder), panels(rows.scratch.template take<O>(padded<T>(rows.H) * padded<T>(rows.A))),
        pointers(rows.scratch.template take<const O *>(rows.p.batch)) {}

  int64_t blocks() const { return rows.key_units / L; }
  void pack(int64_t block) const {
    const int64_t unit = block * L;
    pack_gates(panels + unit * rows.units, static_cast<const T *>(rows.p.weight_query), rows.H, rows.H, rows.units, {0},
               unit, rows.A);
  }

  // W_s s_{t-1}.
  void begin(int64_t part, int64_t step) const {
    const Walk &walk = rows.walk;
    const int64_t alive = walk.alive(part, step), units = rows.units, key_units = rows.key_units;
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) left[q] = rows.state_operands(walk.row(part, step, q));
    for (int64_t unit = 0; unit < key_units; unit += L)
      for_tiles(alive, [&](int64_t q, int64_t n) {
        tile_of<O>(n, 1)(units, left + q, panels + unit * units, nullptr, 0,
                         saved.queries + walk.row(part, step, q) * key_units + unit, walk.parts * key_units);
      });
  }
  void weigh(int64_t at, int64_t b) const {
    weigh_additive(saved.source(b), static_cast<const T *>(rows.p.vector), saved.queries + at * rows.key_units,
                   saved.of(at));
  }
  const T *alpha(int64_t at) const { return saved.of(at); }
  Vector<T> context(int64_t at, int64_t b, int64_t unit) const { return saved.source(b).context(saved.of(at), unit); }

 private:
  static constexpr int L = kLanes<T>;
  Rows &rows;
  const SavedAdditive<Rows> saved;
  O *panels;           // W_s, packed by pack_gates
  const O **pointers;  // one for each rank
};

template <class Rows>
class AdditiveBackward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  AdditiveBackward(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), d(given), saved(decoder), to(decoder, given) {
    const int64_t B = rows.p.batch, keys = padded<T>(rows.A), hidden = padded<T>(rows.H);
    panels = rows.scratch.template take<O>(keys * hidden);
    query_rows = rows.scratch.template take<O>(B * rows.p.steps * keys);
    states = rows.scratch.template take<T>(B * hidden);
    vectors = rows.scratch.template take<T>(B * keys);
    pointers = rows.scratch.template take<const O *>(B);
  }

  int64_t blocks() const { return rows.key_units / L; }
  void pack(int64_t block) const {
    const int64_t H = rows.H, A = rows.A, first = block * L;
    const auto *weight = static_cast<const T *>(rows.p.weight_query);
    pack_rows(panels, H, rows.key_units, first, first + L,
              [=](int64_t k) { return k < A ? weight + k * H : nullptr; });
  }
  void clear() const {
    to.clear();
    std::memset(vectors, 0, size_t(rows.p.batch * rows.key_units) * sizeof(T));
  }
  const T *state_gradient() const { return states; }

  void step(int64_t part, int64_t step, const T *contexts) const {
    const Walk &walk = rows.walk;
    const int64_t alive = walk.alive(part, step), key_units = rows.key_units;
    for (int64_t q = 0; q < alive; ++q) {
      const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), b = walk.order[rank];
      const Source<T> source = saved.source(b);
      T *energies = to.energies_of(rank), *query = to.query_of(rank);
      context_gradient(source, saved.of(at), contexts + rank * rows.memory_units, to.weights(at), to.memory(b),
                       energies);
      additive_gradient(source, static_cast<const T *>(rows.p.vector), saved.queries + at * key_units, energies,
                        to.keys(b), vectors + b * key_units, query);
      copy_operands(query_rows + at * key_units, query, rows.A, key_units);
    }
    through_query(part, step, alive);
  }

  // The gradient of W_s for some rows of it. `hidden_tiles`: s_{t-1} of all rows, packed by pack_tiles.
  void weights(int64_t block, const O *hidden_tiles, GradientMemory<T, O> memory) const {
    const int64_t unit = block * L;
    const Factor<T, O> left[] = {{hidden_tiles, rows.H, static_cast<T *>(d.weight_query), rows.H}};
    weight_gradient<T, O, 1>(query_rows + unit, rows.key_units, rows.walk.rows, left, 1, nullptr, {0}, unit, rows.A,
                             memory);
  }

  // The gradient of v, the sum of all sequences'.
  void finish() const {
    for (int64_t a = 0; a < rows.A; a += L) {
      Vector<T> sum{};
      for (int64_t b = 0; b < rows.p.batch; ++b) sum += load(vectors + b * rows.key_units + a);
      store(static_cast<T *>(d.vector) + a, sum, rows.A - a);
    }
  }

 private:
  static constexpr int L = kLanes<T>;
  Rows &rows;
  const peephole_decoder_gradients &d;
  const SavedAdditive<Rows> saved;
  const SourceGradients<Rows> to;
  O *panels;      // W_s, packed by pack_rows
  O *query_rows;  // (rows, Ap): gradients of W_s s_{t-1}
  T *states;      // (B, Hp): gradient of s_{t-1}, by rank
  T *vectors;     // (B, Ap): gradient of v, by sequence
  const O **pointers;

  // The gradient of s_{t-1} from that of W_s s_{t-1}.
  void through_query(int64_t part, int64_t step, int64_t alive) const {
    const Walk &walk = rows.walk;
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) left[q] = query_rows + walk.row(part, step, q) * rows.key_units;
    multiply_panels<O>(alive, left, rows.key_units, panels, rows.H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      store(states + walk.rank(part, q) * rows.units + unit, sum);
    });
  }
};

class PackedAdditive final : public PackedAlignment {
 public:
  PackedAdditive(const NumberFormat &format, const peephole::NetworkView &view) : PackedAlignment(format, view) {
    pack_matrix(format, query_, view.weight_query, 0, view.hidden_size);
    read_padded(vector_, view.vector);
  }
  void weigh(int64_t n, const AttentionRow *rows, const Selection &states, AttentionScratch &scratch) const override {
    const int64_t width = query_.columns();
    scratch.queries.reserve(n * width);
    query_.multiply(states, scratch.queries.at(0), width);
    for (int64_t m = 0; m < n; ++m)
      weigh_additive(source(*rows[m].source), vector_.at(0), scratch.queries.at(m * width), rows[m].weights);
  }

 private:
  Matrix query_;
  Buffer<float> vector_;
};

struct AdditiveAttention {
  template <class Rows>
  using Forward = AdditiveForward<Rows>;
  template <class Rows>
  using Backward = AdditiveBackward<Rows>;
};

}  // namespace
