// Gradients of equations (1)-(6) of one layer, from the last step to the first. A name here is the gradient of the
// forward's name: `gates` holds those of the pre-activations z_i, z_f, z_g, z_o.
#pragma once

#include "train/distinct_inputs.h"

namespace {

// Packs some rows of the outer part of x into tiles; x(row) are `columns` numbers. `lines`: memory for kStepRows rows as
// operands, where numbers are not operands themselves.
template <class T, class O, class X>
inline void pack_inputs(O *tiles, int64_t columns, int64_t num_rows, int64_t first, O *lines, X x) {
  if constexpr (std::is_same_v<O, T>) {
    pack_tiles(tiles, columns, num_rows, first, x);
  } else {
    const int64_t end = first + kStepRows < num_rows ? first + kStepRows : num_rows, width = in_lanes<T>(columns);
    for (int64_t at = first; at < end; ++at) copy_operands(lines + (at - first) * width, x(at), columns, width);
    pack_tiles(tiles, columns, num_rows, first, [=](int64_t at) -> const O * { return lines + (at - first) * width; });
  }
}

template <class T, class O>
class CellBackward {
 public:
  CellBackward(const CellShape &shape, const CellGradients &gradients, const Walk &ragged, const CellSaved<T, O> &kept,
               int64_t threads, Arena &scratch)
      : cell(shape), d(gradients), walk(ragged), saved(kept), norm(shape, kept.norm, ragged, scratch) {
    const int64_t units = padded<T>(H), outer = padded<T>(cell.outer_size), inner = padded<T>(cell.inner_size);
    int64_t rows = walk.batch * walk.max_steps;
    outer_panels = scratch.take<O>(kGates * units * outer);
    inner_panels = scratch.take<O>(kGates * units * inner);
    hidden_panels = scratch.take<O>(kGates * units * units);
    peephole_panels = scratch.take<O>(cell.full() ? 3 * units * units : 0);
    diagonal = scratch.take<T>(cell.diagonal() ? 3 * units : 0);
    gates = scratch.take<O>(rows * kGates * units);
    cells = scratch.take<T>(walk.batch * units);
    kept_cells = scratch.take<T>(cell.keeps_cells() ? walk.batch * units : 0);
    kept_states = scratch.take<T>(cell.keeps_states() ? walk.batch * units : 0);
    const int64_t num_cells = walk.batch + (cell.keeps_cells() ? 2 : 1) * rows;
    peephole_gradients = scratch.take<O>(cell.full() ? num_cells * 3 * units : 0);
    pointers = scratch.take<const O *>(walk.batch);
    outer_tiles = scratch.take<O>(most_tiled<O>(cell.outer_size) * most_in_steps<O>(rows));
    joint_tiles = scratch.take<O>((most_tiled<O>(cell.inner_size) + most_tiled<O>(H)) * most_in_steps<O>(rows));
    cell_tiles = scratch.take<O>(cell.full() ? most_tiled<O>(H) * most_in_steps<O>(num_cells) : 0);
    lines = scratch.take<O>(std::is_same_v<O, T> ? 0 : threads * kStepRows * padded<T>(cell.outer_size));
    states = scratch.take<T>(cell.normalizes ? walk.batch * units : 0);
  }

  int64_t blocks() const { return units / L; }
  int64_t chunks() const { return (num_cells() + kStepRows - 1) / kStepRows; }

  // Packs the rows of the weights of L units, in the order of `gates` and `peephole_gradients`.
  void pack(int64_t block) {
    int64_t first = block * L, width = cell.input_size();
    auto gate_row = [=](const void *weight, int64_t size, int64_t skip) {
      return [=](int64_t k) -> const T * {
        int64_t unit = k / (kGates * L) * L + k % L, gate = k / L % kGates;
        return unit < H ? static_cast<const T *>(weight) + (gate * H + unit) * size + skip : nullptr;
      };
    };
    int64_t begin = kGates * first, end = kGates * (first + L), depth = kGates * units;
    pack_rows(outer_panels, cell.outer_size, depth, begin, end, gate_row(cell.weight_input, width, 0));
    pack_rows(inner_panels, cell.inner_size, depth, begin, end, gate_row(cell.weight_input, width, cell.outer_size));
    pack_rows(hidden_panels, H, depth, begin, end, gate_row(cell.weight_hidden, H, 0));
    norm.pack(first);
    const auto *peephole = static_cast<const T *>(cell.weight_peephole);
    if (cell.full())
      pack_rows(peephole_panels, H, 3 * units, 3 * first, 3 * (first + L), [=](int64_t k) {
        int64_t unit = k / (3 * L) * L + k % L, product = k / L % 3;
        return unit < H ? peephole + ((product + 2) % 3 * H + unit) * H : nullptr;  // o, i, f
      });
    if (cell.diagonal())
      for (int gate = 0; gate < 3; ++gate) store(diagonal + gate * units + first, load(peephole + gate * H + first, H - first));
  }

  // Sets the gradient that reaches a sequence's last step from its last state; c_last may be NULL: 0.
  void begin(int64_t part, int64_t step, int64_t q, const T *c_last) {
    int64_t rank = walk.rank(part, q), at = walk.row(part, step, q);
    for (int64_t unit = 0; unit < units; unit += L) {
      store(cells + rank * units + unit, c_last && unit < H ? load(c_last + unit, H - unit) : Vector<T>{});
      if (cell.keeps_states()) store(kept_states + rank * units + unit, Vector<T>{});
      if (cell.full())  // no step reads it in i and f; with zoneout, o does not either
        for (int gate = cell.keeps_cells() ? 0 : 1; gate < 3; ++gate)
          store_operand(peephole_gradient(walk.batch + at, unit) + gate * L, Vector<T>{});
    }
  }

  // Computes the gradients of one step's pre-activations. incoming(q, unit) is the part of the gradient of h_t, for the
  // part's q-th sequence, that does not come from the gates of the next step.
  template <class Incoming>
  void step(int64_t part, int64_t step, Incoming incoming) {
    int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < going_on; ++q) left[q] = gates + walk.row(part, step + 1, q) * kGates * units;
    auto receive = [&](int64_t q, int64_t unit, Vector<T> dh) {
      cell.normalizes ? store(states + walk.rank(part, q) * units + unit, dh) : output_gate(part, step, q, unit, dh);
    };
    multiply_panels<O>(going_on, left, kGates * units, hidden_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      receive(q, unit, sum + incoming(q, unit));
    });
    for (int64_t q = going_on; q < alive; ++q)
      for (int64_t unit = 0; unit < units; unit += L) receive(q, unit, incoming(q, unit));
    for (int64_t q = 0; cell.normalizes && q < alive; ++q) output_gate_normalized(part, step, q);
    if (!cell.full()) return;
    for (int64_t q = 0; q < alive; ++q) left[q] = peephole_gradient(computed_cell(cell, walk, walk.row(part, step, q)), 0);
    multiply_panels<O>(alive, left, 3 * units, peephole_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      T *dc = cells + walk.rank(part, q) * units + unit;
      cell.normalizes ? store(dc, sum + load(dc)) : before_output_gate(part, step, q, unit, sum + load(dc));
    });
    for (int64_t q = 0; cell.normalizes && q < alive; ++q) before_output_gate_normalized(part, step, q);
    if (!cell.keeps_cells()) return;
    for (int64_t q = 0; q < alive; ++q) left[q] = peephole_gradient(walk.previous[walk.row(part, step, q)], 0);
    multiply_panels<O>(alive, left, 3 * units, peephole_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      T *to = cells + walk.rank(part, q) * units + unit;
      store(to, load(to) + sum);
    });
  }

  // visit(q, unit, sum): L numbers of the gradient of the inner part of x_t.
  template <class Visit>
  void inner_gradient(int64_t part, int64_t step, Visit visit) {
    const O **left = walk.of_part(pointers, part);
    int64_t alive = walk.alive(part, step);
    for (int64_t q = 0; q < alive; ++q) left[q] = gates + walk.row(part, step, q) * kGates * units;
    multiply_panels<O>(alive, left, kGates * units, inner_panels, cell.inner_size, visit);
  }

  // Gradients of h0 and c0, after step 0; incoming(q, unit) as in `step`, for h0.
  template <class Incoming>
  void first_state(int64_t part, Incoming incoming) {
    const O **left = walk.of_part(pointers, part);
    int64_t alive = walk.alive(part, 0);
    for (int64_t q = 0; q < alive; ++q) left[q] = gates + walk.row(part, 0, q) * kGates * units;
    multiply_panels<O>(alive, left, kGates * units, hidden_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      if (cell.keeps_states()) sum += load(kept_states + walk.rank(part, q) * units + unit);
      store_first(d.h0, part, q, unit, sum + incoming(q, unit));
    });
    auto before = [&](int64_t q, int64_t unit) { return load(cells + walk.rank(part, q) * units + unit); };
    if (cell.full() && !cell.keeps_cells()) {
      for (int64_t q = 0; q < alive; ++q) {
        left[q] = peephole_gradient(walk.rank(part, q), 0);
        for (int64_t unit = 0; unit < units; unit += L)  // c0 has no output gate
          store_operand(peephole_gradient(walk.rank(part, q), unit), Vector<T>{});
      }
      multiply_panels<O>(alive, left, 3 * units, peephole_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
        store_first(d.c0, part, q, unit, sum + before(q, unit));
      });
    } else {
      for (int64_t q = 0; q < alive; ++q)
        for (int64_t unit = 0; unit < H; unit += L) store_first(d.c0, part, q, unit, before(q, unit));
    }
  }

  // The gradients of the pre-activations of all steps, and the operands of a row of them.
  OuterRows<O> rows() const { return {gates, walk.rows}; }
  int64_t row_width() const { return kGates * units; }

  // For some outer rows: writes the gradient of the outer part of x to to(row), and packs x(row), a left factor of the
  // weights' gradients.
  template <class X, class To>
  void outer_gradient(const OuterRows<O> &rows, int64_t chunk, int worker, X x, To to) {
    int64_t first = chunk * kStepRows, end = first + kStepRows < rows.count ? first + kStepRows : rows.count;
    const O *left[kStepRows];
    for (int64_t at = first; at < end; ++at) left[at - first] = rows.gradients + at * kGates * units;
    multiply_panels<O>(end - first, left, kGates * units, outer_panels, cell.outer_size, [&](int64_t r, int64_t unit, Vector<T> sum) {
      store(to(first + r) + unit, sum, cell.outer_size - unit);
    });
    pack_inputs<T>(outer_tiles, cell.outer_size, rows.count, first, lines + worker * kStepRows * outer, x);
  }

  // Packs the other left factors of the weights' gradients, of some rows: the saved arrays.
  void pack_saved(int64_t chunk) {
    const int64_t first = chunk * kStepRows;
    pack_tiles(joint_tiles, cell.inner_size, walk.rows, first, [&](int64_t at) { return joints(at); });
    pack_tiles(hidden_tiles(), H, walk.rows, first, [&](int64_t at) { return joints(at) + inner; });
    if (cell.full())
      pack_tiles(cell_tiles, H, num_cells(), first, [&](int64_t at) { return saved.cell_operands + at * units; });
  }

  // Gradients of the weights of L units: sums over all steps. Each worker has its own `memory`.
  void weights(const OuterRows<O> &outer_rows, int64_t block, GradientMemory<T, O> memory) {
    int64_t unit = block * L, width = cell.input_size();
    T *input = static_cast<T *>(d.weight_input);
    const Factor<T, O> left[] = {{outer_tiles, cell.outer_size, input, width},
                                 {joint_tiles, cell.inner_size, input + cell.outer_size, width},
                                 {hidden_tiles(), H, static_cast<T *>(d.weight_hidden), H}};
    const bool sums = outer_rows.gradients != gates;  // which are not the rows of the other factors
    weight_gradient<T, O, kGates>(gates + block * kGates * L, kGates * units, walk.rows, left + sums, 3 - sums,
                                  static_cast<T *>(d.bias), {0, 1, 2, 3}, unit, H, memory);
    if (cell.normalizes) norm.write(d, unit);
    if (sums)
      weight_gradient<T, O, kGates>(outer_rows.gradients + block * kGates * L, kGates * units, outer_rows.count, left, 1, nullptr,
                                    {0, 1, 2, 3}, unit, H, memory);
    if (cell.full()) {
      const Factor<T, O> cell_operands[] = {{cell_tiles, H, static_cast<T *>(d.weight_peephole), H}};
      weight_gradient<T, O, 3>(peephole_gradient(0, unit), 3 * units, num_cells(), cell_operands, 1, nullptr, {2, 0, 1}, unit, H,
                               memory);
    }
    if (cell.diagonal() && unit < H) diagonal_weights(unit);
  }

  // h_{t-1} of all rows, packed by pack_tiles.
  O *hidden_tiles() const { return joint_tiles + tiled<O>(cell.inner_size) * in_steps<O>(walk.rows); }

 private:
  static constexpr int L = kLanes<T>;
  const CellShape &cell;
  const CellGradients &d;
  const Walk &walk;
  CellSaved<T, O> saved;
  const int64_t H = cell.hidden_size, units = in_lanes<T>(H);
  const int64_t outer = in_lanes<T>(cell.outer_size), inner = in_lanes<T>(cell.inner_size);
  O *outer_panels, *inner_panels, *hidden_panels, *peephole_panels;  // packed by pack_rows
  T *diagonal;
  O *gates;  // (rows, Hp/L, 4, L)
  T *cells;  // (B, Hp): gradient of c, by rank
  T *kept_cells, *kept_states;  // (B, Hp): gradients of c_{t-1} and h_{t-1} by way of what zoneout keeps, by rank
  O *peephole_gradients;  // (B + rows, Hp/L, 3, L): gradients of W_co c, W_ci c, W_cf c for each of saved.cells
  const O **pointers;
  O *outer_tiles, *joint_tiles, *cell_tiles;  // packed by pack_tiles
  O *lines;                                   // for each thread: some rows of x, where they are not operands
  NormalizedBackward<T> norm;
  T *states;  // (B, Hp): with layer normalisation the gradient of h_t, by rank

  int64_t num_cells() const { return walk.batch + (cell.keeps_cells() ? 2 : 1) * walk.rows; }
  O *peephole_gradient(int64_t at, int64_t unit) const { return peephole_gradients + (at * units + unit) * 3; }
  const O *joints(int64_t at) const { return saved.joints + at * (inner + units); }
  void store_first(void *array, int64_t part, int64_t q, int64_t unit, Vector<T> v) {
    store(static_cast<T *>(array) + walk.order[walk.rank(part, q)] * H + unit, v, H - unit);
  }

  // (6), (5) for L units, given the whole gradient of h_t. Not inlined, as before_output_gate: they are
  // long and have several callers.
  [[gnu::noinline]] void output_gate(int64_t part, int64_t step, int64_t q, int64_t unit, Vector<T> dh) {
    int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), computed = computed_cell(cell, walk, at);
    Vector<T> o = load(saved.gates + (at * units + unit) * kGates + 3 * L);
    Vector<T> c = load(saved.cells + computed * units + unit), dc = load(cells + rank * units + unit);
    split_states(at, rank, unit, dh, dc);
    Vector<T> dz_o = hidden_state_gradient<T>(dh, o, c, dc);
    store_operand(gates + (at * units + unit) * kGates + 3 * L, dz_o);
    if (cell.full()) {
      keep_output_gate(computed, unit, dz_o);
      store(cells + rank * units + unit, dc);
      return;
    }
    if (cell.diagonal()) dc = fma(dz_o, load(diagonal + 2 * units + unit), dc);
    before_output_gate(part, step, q, unit, dc);
  }

  // (43): `dh` and `dc`, the gradients of h_t and c_t, become those of h̃_t and c̃_t.
  [[gnu::always_inline]] inline void split_states(int64_t at, int64_t rank, int64_t unit, Vector<T> &dh, Vector<T> &dc) const {
    if (cell.keeps_states()) {
      T *kept = kept_states + rank * units + unit;
      dh += load(kept);
      dh = split(cell.taken_h, at, unit, dh, kept);
    }
    if (cell.keeps_cells()) dc = split(cell.taken_c, at, unit, dc, kept_cells + rank * units + unit);
  }

  // Full peepholes: the gradient of W_co c̃_t.
  [[gnu::always_inline]] inline void keep_output_gate(int64_t computed, int64_t unit, Vector<T> dz_o) const {
    store_operand(peephole_gradient(computed, unit), dz_o);
    for (int gate = 1; cell.keeps_cells() && gate < 3; ++gate)
      store_operand(peephole_gradient(computed, unit) + gate * L, Vector<T>{});
  }

  // (45), (5) with layer normalisation for a row, given the whole gradient of h_t; without full peepholes (4)-(1), too.
  void output_gate_normalized(int64_t part, int64_t step, int64_t q) {
    const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), computed = computed_cell(cell, walk, at);
    T *d_o = norm.gradients(part, 3), *d_read = norm.gradients(part, 4);
    for (int64_t unit = 0; unit < units; unit += L) {
      Vector<T> dh = load(states + rank * units + unit), dc = load(cells + rank * units + unit), d_cell{};
      split_states(at, rank, unit, dh, dc);
      store(cells + rank * units + unit, dc);
      store(d_o + unit, hidden_state_gradient<T>(dh, load(saved.gates + (at * units + unit) * kGates + 3 * L),
                                                 norm.read_cell(at, unit), d_cell));
      store(d_read + unit, d_cell);
    }
    norm.run(part, rank, at, 3);
    norm.run(part, rank, at, 4);
    for (int64_t unit = 0; unit < units; unit += L) {
      T *dc = cells + rank * units + unit;
      const Vector<T> dz_o = load(d_o + unit);
      store_operand(gates + (at * units + unit) * kGates + 3 * L, dz_o);
      if (cell.full()) keep_output_gate(computed, unit, dz_o);
      Vector<T> sum = load(dc) + load(d_read + unit);
      if (cell.diagonal()) sum = fma(dz_o, load(diagonal + 2 * units + unit), sum);
      store(dc, sum);
    }
    if (!cell.full()) before_output_gate_normalized(part, step, q);
  }

  // (4), (3), (2), (1) with layer normalisation for a row, given the whole gradient of c̃_t; leaves that of c_{t-1}.
  void before_output_gate_normalized(int64_t part, int64_t step, int64_t q) {
    const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), previous = walk.previous[at];
    for (int64_t unit = 0; unit < units; unit += L) {
      const T *now = saved.gates + (at * units + unit) * kGates;
      const Gates<T> gate{load(now), load(now + L), load(now + 2 * L), {}};
      Vector<T> dc = load(cells + rank * units + unit);
      const Gates<T> dz = cell_state_gradient<T>(dc, gate, load(saved.cells + previous * units + unit));
      store(cells + rank * units + unit, dc);
      store(norm.gradients(part, 0) + unit, dz.i);
      store(norm.gradients(part, 1) + unit, dz.f);
      store(norm.gradients(part, 2) + unit, dz.g);
    }
    for (int gate = 0; gate < 3; ++gate) norm.run(part, rank, at, gate);
    for (int64_t unit = 0; unit < units; unit += L) {
      const Gates<T> dz{load(norm.gradients(part, 0) + unit), load(norm.gradients(part, 1) + unit),
                        load(norm.gradients(part, 2) + unit), {}};
      keep_before_output_gate(at, rank, unit, dz, load(cells + rank * units + unit));
    }
  }

  // (43) for L units: returns the gradient of the computed state c̃_t or h̃_t, and stores that of the state before the step.
  Vector<T> split(const void *taken, int64_t at, int64_t unit, Vector<T> d_state, T *before) const {
    const Vector<T> share = share_taken<T>(taken, walk, at, unit, H);
    store(before, (splat<T>(1) - share) * d_state);
    return share * d_state;
  }

  // (4), (3), (2), (1) for L units, given the whole gradient of c̃_t; leaves that of c_{t-1}.
  [[gnu::noinline]] void before_output_gate(int64_t part, int64_t step, int64_t q, int64_t unit, Vector<T> dc) {
    int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), previous = walk.previous[at];
    const T *now = saved.gates + (at * units + unit) * kGates;
    const Gates<T> gate{load(now), load(now + L), load(now + 2 * L), {}};
    const Gates<T> dz = cell_state_gradient<T>(dc, gate, load(saved.cells + previous * units + unit));
    keep_before_output_gate(at, rank, unit, dz, dc);
  }

  // Keeps the gradients of pre-activations, and that of c_{t-1}, which lacks what passes through peepholes.
  [[gnu::always_inline]] inline void keep_before_output_gate(int64_t at, int64_t rank, int64_t unit, const Gates<T> &dz, Vector<T> dc) {
    const int64_t previous = walk.previous[at];
    O *to = gates + (at * units + unit) * kGates;
    store_operand(to, dz.i);
    store_operand(to + L, dz.f);
    store_operand(to + 2 * L, dz.g);
    if (cell.diagonal()) {
      dc = fma(dz.i, load(diagonal + unit), dc);
      dc = fma(dz.f, load(diagonal + units + unit), dc);
    }
    if (cell.keeps_cells()) dc += load(kept_cells + rank * units + unit);
    store(cells + rank * units + unit, dc);
    if (cell.full()) {
      if (cell.keeps_cells()) store_operand(peephole_gradient(previous, unit), Vector<T>{});
      store_operand(peephole_gradient(previous, unit) + L, dz.i);
      store_operand(peephole_gradient(previous, unit) + 2 * L, dz.f);
    }
  }

  // Diagonal peepholes of L units: those of i and f multiply c_{t-1}, that of o c̃_t.
  void diagonal_weights(int64_t unit) {
    Vector<T> i{}, f{}, o{};
    for (int64_t at = 0; at < walk.rows; ++at) {
      const O *dz = gates + (at * units + unit) * kGates;
      Vector<T> before = load(saved.cells + walk.previous[at] * units + unit);
      i = fma(load_operand(dz), before, i);
      f = fma(load_operand(dz + L), before, f);
      o = fma(load_operand(dz + 3 * L), load(saved.cells + computed_cell(cell, walk, at) * units + unit), o);
    }
    T *to = static_cast<T *>(d.weight_peephole) + unit;
    store(to, i, H - unit);
    store(to + H, f, H - unit);
    store(to + 2 * H, o, H - unit);
  }
};

}  // namespace
