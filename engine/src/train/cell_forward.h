// Equations (1)-(6) of one layer, step by step, over a part of a ragged batch.
#pragma once

#include "train/cell_memory.h"
#include "simd/product.h"

namespace {

template <class T, class O>
class CellForward {
 public:
  CellForward(const CellShape &shape, const Walk &ragged, const CellSaved<T, O> &kept, void *hidden, int64_t threads,
              Arena &scratch)
      : cell(shape), walk(ragged), saved(kept), out(static_cast<T *>(hidden)) {
    const int64_t units = padded<T>(H), outer = padded<T>(cell.outer_size), joint = padded<T>(cell.inner_size) + units;
    outer_panels = scratch.take<O>(outer * kGates * units);
    joint_panels = scratch.take<O>(joint * kGates * units);
    bias = scratch.take<T>(kGates * units);
    peephole_panels = scratch.take<O>(cell.full() ? units * 3 * units : 0);
    diagonal = scratch.take<T>(cell.diagonal() ? 3 * units : 0);
    peephole_products = scratch.take<T>(cell.full() ? walk.batch * 2 * units : 0);
    pointers = scratch.take<const O *>(walk.batch);
    lines = scratch.take<O>(threads * kStepRows * outer);
  }

  int64_t blocks() const { return units / L; }
  int64_t chunks() const { return (walk.rows + kStepRows - 1) / kStepRows; }

  // Packs the weights of L units: gates i, f, g, o side by side; of full peepholes W_co, W_ci, W_cf. Then copies the same
  // units of the first state.
  void pack(int64_t block) {
    int64_t unit = block * L;
    const auto *input = static_cast<const T *>(cell.weight_input), *biases = static_cast<const T *>(cell.bias);
    O *joint_panel = joint_panels + block * joint * kGates * L;
    pack_gates(outer_panels + block * outer * kGates * L, input, cell.input_size(), cell.outer_size, outer, {0, 1, 2, 3},
               unit, H);
    pack_gates(joint_panel, input + cell.outer_size, cell.input_size(), cell.inner_size, inner, {0, 1, 2, 3}, unit, H);
    pack_gates(joint_panel + inner * kGates * L, static_cast<const T *>(cell.weight_hidden), H, H, units, {0, 1, 2, 3},
               unit, H);
    for (int gate = 0; gate < kGates; ++gate)
      store(bias + (block * kGates + gate) * L, unit < H ? load_unit<T>(biases + gate * H, 0, unit, H) : Vector<T>{});
    const auto *peephole = static_cast<const T *>(cell.weight_peephole);
    if (cell.full()) pack_gates(peephole_panels + block * units * 3 * L, peephole, H, H, units, {2, 0, 1}, unit, H);
    if (cell.diagonal())
      for (int gate = 0; gate < 3; ++gate) store(diagonal + gate * units + unit, load(peephole + gate * H + unit, H - unit));
    for (int64_t rank = 0; rank < walk.batch; ++rank) {
      store_cell(rank, unit, load_unit<T>(cell.c0, walk.order[rank], unit, H));
      store_operand(saved.joints + rank * joint + inner + unit, load_unit<T>(cell.h0, walk.order[rank], unit, H));
    }
  }

  // W_x x + b for some rows, of the outer part of x, in the layout of the saved gates; x(row) are `outer_size` numbers.
  template <class Row>
  void project(RowRange rows, int worker, T *gates, Row x) {
    const O *left[kStepRows];
    for (int64_t r = 0; r < rows.count; ++r) {
      O *line = lines + (worker * kStepRows + r) * outer;
      copy_operands(line, x(rows.first + r * rows.step), cell.outer_size, outer);
      left[r] = line;
    }
    for (int64_t block = 0; block < blocks(); ++block)
      for_tiles<kTileRows<O>>(rows.count, [&](int64_t r, int64_t n) {
        T *to = gates + (rows.first + r * rows.step) * kGates * units + block * kGates * L;
        tile_of<O>(n, kGates)(outer, left + r, outer_panels + block * outer * kGates * L, bias + block * kGates * L, 0, to,
                              rows.step * kGates * units);
      });
  }

  // One step of a part's sequences; their joint rows hold the inner part of x.
  void step(int64_t part, int64_t step) {
    int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
    const O **left = walk.of_part(pointers, part);
    if (cell.full() && step == 0) {
      for (int64_t q = 0; q < alive; ++q) left[q] = saved.cell_operands + walk.rank(part, q) * units;
      multiply_peepholes(part, alive, going_on, left, -1);
    }
    for (int64_t q = 0; q < alive; ++q) left[q] = saved.joints + walk.row(part, step, q) * joint;
    for (int64_t block = 0; block < blocks(); ++block)
      for_tiles<kTileRows<O>>(alive, [&](int64_t q, int64_t n) {
        T sums[kTileRows<O> * kGates * L];
        const T *projected = saved.gates + walk.row(part, step, q) * kGates * units + block * kGates * L;
        tile_of<O>(n, kGates)(joint, left + q, joint_panels + block * joint * kGates * L, projected,
                              walk.parts * kGates * units, sums, kGates * L);
        for (int64_t r = 0; r < n; ++r) update(part, step, q + r, going_on, block, sums + r * kGates * L);
      });
    if (!cell.full()) return;
    for (int64_t q = 0; q < alive; ++q) left[q] = saved.cell_operands + (walk.batch + walk.row(part, step, q)) * units;
    multiply_peepholes(part, alive, going_on, left, step);
  }

 private:
  static constexpr int L = kLanes<T>;
  const CellShape &cell;
  const Walk &walk;
  CellSaved<T, O> saved;
  T *out;                            // (B, S, H)
  const int64_t H = cell.hidden_size, units = in_lanes<T>(H);
  const int64_t outer = in_lanes<T>(cell.outer_size), inner = in_lanes<T>(cell.inner_size), joint = inner + units;
  O *outer_panels, *joint_panels, *peephole_panels;  // packed by pack_gates
  T *bias, *diagonal;
  T *peephole_products;            // (B, Hp/L, 2, L): W_ci c, W_cf c, by rank
  const O **pointers;  // one for each rank
  O *lines;            // for each thread: some rows of x

  void store_cell(int64_t at, int64_t unit, Vector<T> c) {
    store(saved.cells + at * units + unit, c);
    if constexpr (!std::is_same_v<O, T>)
      if (cell.full()) store_operand(saved.cell_operands + at * units + unit, c);
  }

  // (1)-(6) for L units of one row, given the pre-activations without peepholes in z; with full peepholes (1)-(4).
  void update(int64_t part, int64_t step, int64_t q, int64_t going_on, int64_t block, const T *z) {
    int64_t unit = block * L, rank = walk.rank(part, q), at = walk.row(part, step, q);
    Gates<T> gate{load(z), load(z + L), load(z + 2 * L), load(z + 3 * L)};
    const T *diagonals = diagonal + unit;
    Peepholes<T> peephole{cell.form, peephole_products + (rank * units + unit) * 2, {diagonals, diagonals + units, diagonals + 2 * units}};
    Vector<T> c = cell_state(gate, load(saved.cells + walk.previous[at] * units + unit), peephole);
    T *gates = saved.gates + at * kGates * units + block * kGates * L;
    store(gates, gate.i);
    store(gates + L, gate.f);
    store(gates + 2 * L, gate.g);
    store_cell(walk.batch + at, unit, c);
    if (cell.full())
      store(gates + 3 * L, gate.o);  // without W_co c, which multiply_peepholes adds
    else
      emit(part, step, q, going_on, block, gate.o, c);
  }

  // Full peepholes: the product W_c c_t serves o of step t and i, f of step t + 1. Step -1 is c0, which has no o.
  void multiply_peepholes(int64_t part, int64_t alive, int64_t going_on, const O *const *cells, int64_t step) {
    for (int64_t block = 0; block < blocks(); ++block)
      for_tiles<kTileRows<O>>(alive, [&](int64_t q, int64_t n) {
        T sums[kTileRows<O> * 3 * L];
        tile_of<O>(n, 3)(units, cells + q, peephole_panels + block * units * 3 * L, nullptr, 0, sums, 3 * L);
        for (int64_t r = 0; r < n; ++r) {
          const T *sum = sums + r * 3 * L;
          T *to = peephole_products + (walk.rank(part, q + r) * units + block * L) * 2;
          store(to, load(sum + L));
          store(to + L, load(sum + 2 * L));
          if (step < 0) continue;
          int64_t at = walk.row(part, step, q + r);
          const T *z_o = saved.gates + at * kGates * units + (block * kGates + 3) * L;
          emit(part, step, q + r, going_on, block, load(z_o) + load(sum),
               load(saved.cells + (walk.batch + at) * units + block * L));
        }
      });
  }

  // (5), (6)
  void emit(int64_t part, int64_t step, int64_t q, int64_t going_on, int64_t block, Vector<T> o, Vector<T> c) {
    Vector<T> h = hidden_state<T>(o, c);
    int64_t at = walk.row(part, step, q), unit = block * L;
    store(saved.gates + at * kGates * units + (block * kGates + 3) * L, o);
    if (unit < H) store(out + walk.position[at] * H + unit, h, H - unit);
    if (q < going_on)
      store_operand(saved.joints + walk.row(part, step + 1, q) * joint + inner + unit, h);
  }
};

}  // namespace
