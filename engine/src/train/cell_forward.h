// Equations (1)-(6) of one layer, step by step, over a part of a ragged batch.
#pragma once

#include "train/normalized_lines.h"
#include "simd/product.h"

namespace {

template <class T, class O>
class CellForward {
 public:
  CellForward(const CellShape &shape, const Walk &ragged, const CellSaved<T, O> &kept, void *hidden, int64_t threads,
              Arena &scratch)
      : cell(shape), walk(ragged), saved(kept), out(static_cast<T *>(hidden)), norm(shape, kept.norm, scratch) {
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
    const auto *input = static_cast<const T *>(cell.weight_input);
    O *joint_panel = joint_panels + block * joint * kGates * L;
    pack_gates(outer_panels + block * outer * kGates * L, input, cell.input_size(), cell.outer_size, outer, {0, 1, 2, 3},
               unit, H);
    pack_gates(joint_panel, input + cell.outer_size, cell.input_size(), cell.inner_size, inner, {0, 1, 2, 3}, unit, H);
    pack_gates(joint_panel + inner * kGates * L, static_cast<const T *>(cell.weight_hidden), H, H, units, {0, 1, 2, 3},
               unit, H);
    for (int gate = 0; gate < kGates; ++gate)  // that of layer normalisation is added after it
      store(bias + (block * kGates + gate) * L,
            cell.normalizes ? Vector<T>{} : load_line<T>(cell.bias, gate, unit, H));
    norm.pack(unit);
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
        for (int64_t r = 0; r < n; ++r)
          if (cell.normalizes)
            std::memcpy(gates(walk.row(part, step, q + r), block), sums + r * kGates * L, kGates * L * sizeof(T));
          else
            update(part, step, q + r, going_on, block, sums + r * kGates * L);
      });
    for (int64_t q = 0; cell.normalizes && q < alive; ++q) update_normalized(part, step, q, going_on);
    if (!cell.full()) return;
    for (int64_t q = 0; q < alive; ++q)
      left[q] = saved.cell_operands + computed_cell(cell, walk, walk.row(part, step, q)) * units;
    multiply_peepholes(part, alive, going_on, left, step);
    for (int64_t q = 0; cell.normalizes && q < alive; ++q) emit_normalized(part, step, q, going_on);
    if (!cell.keeps_cells()) return;
    for (int64_t q = 0; q < alive; ++q) left[q] = saved.cell_operands + (walk.batch + walk.row(part, step, q)) * units;
    multiply_peepholes(part, alive, going_on, left, -1);
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
  NormalizedForward<T> norm;

  T *gates(int64_t at, int64_t block) const { return saved.gates + (at * units + block * L) * kGates; }
  Vector<T> hidden_before(int64_t at, int64_t unit) const {
    const int64_t row = walk.previous[at] - walk.batch;
    if (unit >= H) return Vector<T>{};
    return row < 0 ? load_unit<T>(cell.h0, walk.order[walk.previous[at]], unit, H) : load_unit<T>(out, walk.position[row], unit, H);
  }

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
    const Vector<T> c_before = load(saved.cells + walk.previous[at] * units + unit);
    Vector<T> c = cell_state(gate, c_before, peephole);
    keep(at, block, gate, c, c_before);
    if (cell.full())
      store(gates(at, block) + 3 * L, gate.o);  // without W_co c, which multiply_peepholes adds
    else
      emit(part, step, q, going_on, block, gate.o, c);
  }

  [[gnu::always_inline]] inline void keep(int64_t at, int64_t block, const Gates<T> &gate, Vector<T> c, Vector<T> c_before) {
    const int64_t unit = block * L;
    T *to = gates(at, block);
    store(to, gate.i);
    store(to + L, gate.f);
    store(to + 2 * L, gate.g);
    store_cell(computed_cell(cell, walk, at), unit, c);
    if (cell.keeps_cells())
      store_cell(walk.batch + at, unit, mixed_state<T>(share_taken<T>(cell.taken_c, walk, at, unit, H), c, c_before));
  }

  // (1)-(4) with layer normalisation for a row, whose gates hold the pre-activations without peepholes; without full
  // peepholes (5) and (6), too.
  void update_normalized(int64_t part, int64_t step, int64_t q, int64_t going_on) {
    const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q);
    const T *before = saved.cells + walk.previous[at] * units;
    for (int64_t unit = 0; cell.form != PEEPHOLE_NONE && unit < units; unit += L)
      for (int gate = 0; gate < 2; ++gate) {
        T *z = gates(at, unit / L) + gate * L;
        store(z, cell.full() ? load(z) + load(peephole_products + (rank * units + unit) * 2 + gate * L)
                             : fma(load(diagonal + gate * units + unit), load(before + unit), load(z)));
      }
    for (int gate = 0; gate < 3; ++gate) norm.run(at, gate, gates(at, 0) + gate * L, kGates * L);
    for (int64_t unit = 0; unit < units; unit += L) {
      T *z_o = gates(at, unit / L) + 3 * L;
      Gates<T> gate{norm.read(at, 0, unit), norm.read(at, 1, unit), norm.read(at, 2, unit), {}};
      const Vector<T> c_before = load(before + unit), c = cell_state(gate, c_before, Peepholes<T>{PEEPHOLE_NONE, nullptr, {}});
      keep(at, unit / L, gate, c, c_before);
      if (cell.diagonal()) store(z_o, fma(load(diagonal + 2 * units + unit), c, load(z_o)));
    }
    if (!cell.full()) emit_normalized(part, step, q, going_on);
  }

  // (5), (45) with layer normalisation for a row, given the whole pre-activation of o.
  void emit_normalized(int64_t part, int64_t step, int64_t q, int64_t going_on) {
    const int64_t at = walk.row(part, step, q);
    norm.run(at, 3, gates(at, 0) + 3 * L, kGates * L);
    norm.run(at, 4, saved.cells + computed_cell(cell, walk, at) * units, L);
    for (int64_t unit = 0; unit < units; unit += L)
      emit(part, step, q, going_on, unit / L, norm.read(at, 3, unit), norm.read(at, 4, unit));
  }

  // Full peepholes: the product W_c c_t serves o of step t and i, f of step t + 1. Step -1: of cells that have no o, c0
  // and, with zoneout, c_t; then those of c̃_t before them serve o alone.
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
          T *z_o = gates(at, block) + 3 * L;
          if (cell.normalizes) {
            store(z_o, load(z_o) + load(sum));
            continue;
          }
          emit(part, step, q + r, going_on, block, load(z_o) + load(sum),
               load(saved.cells + computed_cell(cell, walk, at) * units + block * L));
        }
      });
  }

  // (5), (6); c is c̃_t, normalised or not.
  void emit(int64_t part, int64_t step, int64_t q, int64_t going_on, int64_t block, Vector<T> o, Vector<T> c) {
    Vector<T> h = hidden_state<T>(o, c);
    int64_t at = walk.row(part, step, q), unit = block * L;
    store(saved.gates + at * kGates * units + (block * kGates + 3) * L, o);
    if (cell.keeps_states()) h = mixed_state<T>(share_taken<T>(cell.taken_h, walk, at, unit, H), h, hidden_before(at, unit));
    if (unit < H) store(out + walk.position[at] * H + unit, h, H - unit);
    if (q < going_on)
      store_operand(saved.joints + walk.row(part, step + 1, q) * joint + inner + unit, h);
  }
};

}  // namespace
