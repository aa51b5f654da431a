// The queries of an alignment model in training, q = W_s s_{t-1} + b, with W_y E(y_{t-1}) of (67) where it is given, and
// their gradients.
#pragma once

#include "cell/attention.h"
#include "simd/weight_gradient.h"

namespace {

// The queries of all steps, saved for the gradients.
template <class Rows>
struct SavedQueries {
  using T = typename Rows::Number;
  T *all;  // (rows, Ap)
  int64_t units;
  explicit SavedQueries(Rows &rows)
      : all(rows.kept.template take<T>(rows.p.batch * rows.p.steps * padded<T>(rows.A))), units(rows.key_units) {}
  T *of(int64_t at) const { return all + at * units; }
};

template <class Rows>
class QueryForward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  // `added`: b, (A), or NULL.
  QueryForward(Rows &decoder, const SavedQueries<Rows> &to, const void *added)
      : rows(decoder), queries(to), b(static_cast<const T *>(added)),
        panels(rows.scratch.template take<O>(padded<T>(rows.H) * padded<T>(rows.A))),
        bias(rows.scratch.template take<T>(padded<T>(rows.A))),
        pointers(rows.scratch.template take<const O *>(rows.p.batch)) {}

  int64_t blocks() const { return rows.key_units / L; }
  void pack(int64_t block) const {
    const int64_t unit = block * L;
    pack_gates(panels + unit * rows.units, static_cast<const T *>(rows.p.weight_query), rows.H, rows.H, rows.units, {0},
               unit, rows.A);
    if (b) store(bias + unit, load(b + unit, rows.A - unit));
  }

  // The queries of a step.
  void begin(int64_t part, int64_t step) const {
    const Walk &walk = rows.walk;
    const int64_t alive = walk.alive(part, step), units = rows.units, key_units = rows.key_units;
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) left[q] = rows.state_operands(walk.row(part, step, q));
    for (int64_t unit = 0; unit < key_units; unit += L)
      for_tiles<kTileRows<O>>(alive, [&](int64_t q, int64_t n) {
        tile_of<O>(n, 1)(units, left + q, panels + unit * units, b ? bias + unit : nullptr, 0,
                         queries.of(walk.row(part, step, q)) + unit, walk.parts * key_units);
      });
    if (rows.p.asked)
      for (int64_t q = 0; q < alive; ++q) add_asked(walk.row(part, step, q));
  }

 private:
  static constexpr int L = kLanes<T>;
  Rows &rows;
  const SavedQueries<Rows> queries;
  const T *b;
  O *panels;           // W_s, packed by pack_gates
  T *bias;             // (Ap): b
  const O **pointers;  // one for each rank

  void add_asked(int64_t at) const {
    const T *from = static_cast<const T *>(rows.p.asked) + rows.walk.position[at] * rows.A;
    T *query = queries.of(at);
    for (int64_t unit = 0; unit < rows.A; unit += L) store(query + unit, load(query + unit) + load(from + unit, rows.A - unit));
  }
};

template <class Rows>
class QueryBackward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  // `given`: where the gradients of W_s and, if there are, of b and W_y E(y_{t-1}) go.
  QueryBackward(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), d_weight(static_cast<T *>(given.weight_query)), d_bias(static_cast<T *>(given.attention_bias)),
        d_asked(static_cast<T *>(given.asked)) {
    const int64_t B = rows.p.batch, keys = padded<T>(rows.A), hidden = padded<T>(rows.H);
    panels = rows.scratch.template take<O>(keys * hidden);
    query_rows = rows.scratch.template take<O>(B * rows.p.steps * keys);
    states = rows.scratch.template take<T>(B * hidden);
    pointers = rows.scratch.template take<const O *>(B);
  }

  int64_t blocks() const { return rows.key_units / L; }
  void pack(int64_t block) const {
    const int64_t H = rows.H, A = rows.A, first = block * L;
    const auto *weight = static_cast<const T *>(rows.p.weight_query);
    pack_rows(panels, H, rows.key_units, first, first + L,
              [=](int64_t k) { return k < A ? weight + k * H : nullptr; });
  }
  // Clears what is past the targets' lengths.
  void clear() const {
    const int64_t U = rows.p.steps, A = rows.A;
    for (int64_t b = 0; d_asked && b < rows.p.batch; ++b)
      std::memset(d_asked + (b * U + rows.p.lengths[b]) * A, 0, size_t((U - rows.p.lengths[b]) * A) * sizeof(T));
  }
  // (B, Hp): the gradient of s_{t-1}, by rank.
  const T *state_gradient() const { return states; }

  // Keeps the gradient of a row's query, (A).
  void keep(int64_t at, const T *query) const {
    copy_operands(query_rows + at * rows.key_units, query, rows.A, rows.key_units);
    if (d_asked) std::memcpy(d_asked + rows.walk.position[at] * rows.A, query, size_t(rows.A) * sizeof(T));
  }

  // The gradients of s_{t-1} from those of a step's queries.
  void step(int64_t part, int64_t step) const {
    const Walk &walk = rows.walk;
    const int64_t alive = walk.alive(part, step);
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) left[q] = query_rows + walk.row(part, step, q) * rows.key_units;
    multiply_panels<O>(alive, left, rows.key_units, panels, rows.H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      store(states + walk.rank(part, q) * rows.units + unit, sum);
    });
  }

  // The gradients of some rows of W_s and b. `hidden_tiles`: s_{t-1} of all rows, packed by pack_tiles.
  void weights(int64_t block, const O *hidden_tiles, GradientMemory<T, O> memory) const {
    const int64_t unit = block * L;
    const Factor<T, O> left[] = {{hidden_tiles, rows.H, d_weight, rows.H}};
    weight_gradient<T, O, 1>(query_rows + unit, rows.key_units, rows.walk.rows, left, 1, d_bias, {0}, unit, rows.A,
                             memory);
  }

 private:
  static constexpr int L = kLanes<T>;
  Rows &rows;
  T *d_weight, *d_bias, *d_asked;
  O *panels;      // W_s, packed by pack_rows
  O *query_rows;  // (rows, Ap): gradients of the queries
  T *states;
  const O **pointers;
};

// Writes the sum over the batch of `size` numbers each, `stride` apart; `to` has `size`.
template <class T>
inline void sum_sequences(const T *numbers, int64_t batch, int64_t stride, int64_t size, T *to) {
  for (int64_t i = 0; i < size; i += kLanes<T>) {
    Vector<T> sum{};
    for (int64_t b = 0; b < batch; ++b) sum += load(numbers + b * stride + i);
    store(to + i, sum, size - i);
  }
}

}  // namespace
