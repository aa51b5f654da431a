// The GRU of one layer, step by step, over a part of a ragged batch; with the interface of CellForward.
//
// Four numbers of a unit lie side by side: n_x = W_n x_t + b_n and the pre-activations of r and z, the products with x_t,
// then n_h = U_n h_{t-1} + c_n: those of the products with h_{t-1} are the last three. Saved are n, r, z and n_h.
#pragma once

#include "cell/gru.h"
#include "simd/product.h"
#include "train/normalized_lines.h"

namespace {

constexpr int kGRUGates = 3;  // in weights: r, z, n

template <class T, class O>
class GRUCellForward {
 public:
  GRUCellForward(const CellShape &shape, const Walk &ragged, const CellSaved<T, O> &kept, void *hidden, int64_t threads,
             Arena &scratch)
      : cell(shape), walk(ragged), saved(kept), out(static_cast<T *>(hidden)), norm(shape, kept.norm, scratch) {
    const int64_t units = padded<T>(H), outer = padded<T>(cell.outer_size), inner = padded<T>(cell.inner_size);
    outer_panels = scratch.take<O>(outer * kGRUGates * units);
    inner_panels = scratch.take<O>(inner * kGRUGates * units);
    hidden_panels = scratch.take<O>(units * kGRUGates * units);
    bias = scratch.take<T>(kGates * units);
    pointers = scratch.take<const O *>(walk.batch);
    lines = scratch.take<O>(threads * kStepRows * outer);
  }

  int64_t blocks() const { return units / L; }
  int64_t chunks() const { return (walk.rows + kStepRows - 1) / kStepRows; }

  // Packs the weights of L units, and copies the same units of the first state.
  void pack(int64_t block) {
    const int64_t unit = block * L;
    const auto *input = static_cast<const T *>(cell.weight_input);
    pack_gates(outer_panels + block * outer * kGRUGates * L, input, cell.input_size(), cell.outer_size, outer, {2, 0, 1},
               unit, H);
    pack_gates(inner_panels + block * inner * kGRUGates * L, input + cell.outer_size, cell.input_size(), cell.inner_size,
               inner, {2, 0, 1}, unit, H);
    pack_gates(hidden_panels + block * units * kGRUGates * L, static_cast<const T *>(cell.weight_hidden), H, H, units,
               {0, 1, 2}, unit, H);
    T *to = bias + block * kGates * L;
    store(to, biases(cell.bias, 2, unit));
    store(to + L, biases(cell.bias, 0, unit) + biases(cell.bias_hidden, 0, unit));
    store(to + 2 * L, biases(cell.bias, 1, unit) + biases(cell.bias_hidden, 1, unit));
    for (int gate = 0; cell.normalizes && gate < 3; ++gate) store(to + gate * L, Vector<T>{});  // they are added after it
    store(to + 3 * L, biases(cell.bias_hidden, 2, unit));
    norm.pack(unit);
    for (int64_t rank = 0; rank < walk.batch; ++rank) {
      const Vector<T> h = load_unit<T>(cell.h0, walk.order[rank], unit, H);
      store(saved.cells + rank * units + unit, h);
      store_operand(saved.joints + rank * joint + inner + unit, h);
    }
  }

  // The numbers of some rows without the products of the inner part of x and of h; x(row) are `outer_size` numbers.
  template <class Row>
  void project(RowRange rows, int worker, T *gates, Row x) {
    const O *left[kStepRows];
    for (int64_t r = 0; r < rows.count; ++r) {
      O *line = lines + (worker * kStepRows + r) * outer;
      copy_operands(line, x(rows.first + r * rows.step), cell.outer_size, outer);
      left[r] = line;
    }
    for (int64_t block = 0; block < blocks(); ++block) {
      const T *start = bias + block * kGates * L;
      for_tiles<kTileRows<O>>(rows.count, [&](int64_t r, int64_t n) {
        tile_of<O>(n, kGRUGates)(outer, left + r, outer_panels + block * outer * kGRUGates * L, start, 0,
                                 gates + (rows.first + r * rows.step) * kGates * units + block * kGates * L,
                                 rows.step * kGates * units);
      });
      for (int64_t r = 0; r < rows.count; ++r)
        store(gates + (rows.first + r * rows.step) * kGates * units + (block * kGates + 3) * L, load(start + 3 * L));
    }
  }

  // One step of a part's sequences; their joint rows hold the inner part of x.
  void step(int64_t part, int64_t step) {
    const int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1), stride = walk.parts * kGates * units;
    const O **left = walk.of_part(pointers, part);
    for (int64_t block = 0; block < blocks(); ++block) {
      if (inner) {
        for (int64_t q = 0; q < alive; ++q) left[q] = saved.joints + walk.row(part, step, q) * joint;
        for_tiles<kTileRows<O>>(alive, [&](int64_t q, int64_t n) {
          T *to = gates(walk.row(part, step, q), block);
          tile_of<O>(n, kGRUGates)(inner, left + q, inner_panels + block * inner * kGRUGates * L, to, stride, to, stride);
        });
      }
      for (int64_t q = 0; q < alive; ++q) left[q] = saved.joints + walk.row(part, step, q) * joint + inner;
      for_tiles<kTileRows<O>>(alive, [&](int64_t q, int64_t n) {
        T *to = gates(walk.row(part, step, q), block) + L;
        tile_of<O>(n, kGRUGates)(units, left + q, hidden_panels + block * units * kGRUGates * L, to, stride, to, stride);
        for (int64_t r = 0; r < n && !cell.normalizes; ++r) update(part, step, q + r, going_on, block);
      });
    }
    for (int64_t q = 0; cell.normalizes && q < alive; ++q) update_normalized(part, step, q, going_on);
  }

 private:
  static constexpr int L = kLanes<T>;
  const CellShape &cell;
  const Walk &walk;
  CellSaved<T, O> saved;  // its `cells` are h
  T *out;                 // (B, S, H)
  const int64_t H = cell.hidden_size, units = in_lanes<T>(H);
  const int64_t outer = in_lanes<T>(cell.outer_size), inner = in_lanes<T>(cell.inner_size), joint = inner + units;
  O *outer_panels, *inner_panels, *hidden_panels;  // packed by pack_gates
  T *bias;             // (Hp/L, 4, L)
  const O **pointers;  // one for each rank
  O *lines;            // for each thread: some rows of x
  NormalizedForward<T> norm;

  T *gates(int64_t at, int64_t block) const { return saved.gates + (at * units + block * L) * kGates; }
  Vector<T> biases(const void *array, int64_t gate, int64_t unit) const { return load_line<T>(array, gate, unit, H); }

  void update(int64_t part, int64_t step, int64_t q, int64_t going_on, int64_t block) {
    const int64_t unit = block * L, at = walk.row(part, step, q);
    T *own = gates(at, block);
    GRUGates<T> gate{load(own + L), load(own + 2 * L), load(own), load(own + 3 * L)};
    const Vector<T> before = load(saved.cells + walk.previous[at] * units + unit);
    emit(part, step, q, going_on, block, gate, gru_hidden_state(gate, before), before);
  }

  // (46) for a row, whose gates hold the sums.
  void update_normalized(int64_t part, int64_t step, int64_t q, int64_t going_on) {
    const int64_t at = walk.row(part, step, q);
    for (int line = 0; line < 2; ++line) norm.run(at, line, gates(at, 0) + (line + 1) * L, kGates * L);
    for (int64_t unit = 0; unit < units; unit += L) {
      T *own = gates(at, unit / L);
      store(own + L, sigmoid<T>(norm.read(at, 0, unit)));
      store(own + 2 * L, sigmoid<T>(norm.read(at, 1, unit)));
      store(own, fma(load(own + L), load(own + 3 * L), load(own)));
    }
    norm.run(at, 2, gates(at, 0), kGates * L);
    for (int64_t unit = 0; unit < units; unit += L) {
      const T *own = gates(at, unit / L);
      const GRUGates<T> gate{load(own + L), load(own + 2 * L), tanh<T>(norm.read(at, 2, unit)), load(own + 3 * L)};
      const Vector<T> before = load(saved.cells + walk.previous[at] * units + unit);
      emit(part, step, q, going_on, unit / L, gate, fma(gate.z, before - gate.n, gate.n), before);
    }
  }

  [[gnu::always_inline]] inline void emit(int64_t part, int64_t step, int64_t q, int64_t going_on, int64_t block, const GRUGates<T> &gate, Vector<T> h,
            Vector<T> before) {
    const int64_t unit = block * L, at = walk.row(part, step, q);
    T *own = gates(at, block);
    if (cell.keeps_states()) h = mixed_state<T>(share_taken<T>(cell.taken_h, walk, at, unit, H), h, before);
    store(own, gate.n);
    store(own + L, gate.r);
    store(own + 2 * L, gate.z);
    store(saved.cells + (walk.batch + at) * units + unit, h);
    if (unit < H) store(out + walk.position[at] * H + unit, h, H - unit);
    if (q < going_on) store_operand(saved.joints + walk.row(part, step + 1, q) * joint + inner + unit, h);
  }
};

}  // namespace
