// Gradients of the GRU of one layer, from the last step to the first; with the interface of CellBackward. A name here is
// the gradient of the forward's name.
#pragma once

#include "train/cell_backward.h"
#include "train/gru_forward.h"

namespace {

template <class T, class O>
class GRUCellBackward {
 public:
  GRUCellBackward(const CellShape &shape, const CellGradients &gradients, const Walk &ragged, const CellSaved<T, O> &kept,
              int64_t threads, Arena &scratch)
      : cell(shape), d(gradients), walk(ragged), saved(kept), norm(shape, kept.norm, ragged, scratch) {
    const int64_t units = padded<T>(H), outer = padded<T>(cell.outer_size), inner = padded<T>(cell.inner_size);
    const int64_t rows = walk.batch * walk.max_steps;
    outer_panels = scratch.take<O>(kGRUGates * units * outer);
    inner_panels = scratch.take<O>(kGRUGates * units * inner);
    hidden_panels = scratch.take<O>(kGRUGates * units * units);
    of_x = scratch.take<O>(rows * kGRUGates * units);
    of_h = scratch.take<O>(rows * kGRUGates * units);
    states = scratch.take<T>(walk.batch * units);
    pointers = scratch.take<const O *>(walk.batch);
    outer_tiles = scratch.take<O>(most_tiled<O>(cell.outer_size) * most_in_steps<O>(rows));
    joint_tiles = scratch.take<O>((most_tiled<O>(cell.inner_size) + most_tiled<O>(H)) * most_in_steps<O>(rows));
    lines = scratch.take<O>(std::is_same_v<O, T> ? 0 : threads * kStepRows * padded<T>(cell.outer_size));
  }

  int64_t blocks() const { return units / L; }
  int64_t chunks() const { return (walk.rows + kStepRows - 1) / kStepRows; }

  // Packs the rows of the weights of L units, in the order of `of_x` and `of_h`.
  void pack(int64_t block) {
    const int64_t width = cell.input_size(), begin = kGRUGates * block * L, end = begin + kGRUGates * L;
    const int64_t depth = kGRUGates * units;
    auto gate_row = [=](const void *weight, int64_t size, int64_t skip) {
      return [=](int64_t k) -> const T * {
        const int64_t unit = k / (kGRUGates * L) * L + k % L, gate = (k / L + 2) % kGRUGates;  // n, r, z
        return unit < H ? static_cast<const T *>(weight) + (gate * H + unit) * size + skip : nullptr;
      };
    };
    pack_rows(outer_panels, cell.outer_size, depth, begin, end, gate_row(cell.weight_input, width, 0));
    pack_rows(inner_panels, cell.inner_size, depth, begin, end, gate_row(cell.weight_input, width, cell.outer_size));
    pack_rows(hidden_panels, H, depth, begin, end, gate_row(cell.weight_hidden, H, 0));
    norm.pack(block * L);
  }

  // Nothing reaches a sequence's last step but the gradient of its h_t.
  void begin(int64_t, int64_t, int64_t, const T *) {}

  // Computes the gradients of one step's pre-activations. incoming(q, unit) is the part of the gradient of h_t, for the
  // part's q-th sequence, that does not come from the next step.
  template <class Incoming>
  void step(int64_t part, int64_t step, Incoming incoming) {
    const int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
    auto receive = [&](int64_t q, int64_t unit, Vector<T> dh) {
      cell.normalizes ? store(states + walk.rank(part, q) * units + unit, dh) : update(part, step, q, unit, dh);
    };
    from_next(part, step + 1, going_on, [&](int64_t q, int64_t unit, Vector<T> sum) {
      receive(q, unit, sum + incoming(q, unit));
    });
    for (int64_t q = going_on; q < alive; ++q)
      for (int64_t unit = 0; unit < units; unit += L) receive(q, unit, incoming(q, unit));
    for (int64_t q = 0; cell.normalizes && q < alive; ++q) update_normalized(part, step, q);
  }

  // visit(q, unit, sum): L numbers of the gradient of the inner part of x_t.
  template <class Visit>
  void inner_gradient(int64_t part, int64_t step, Visit visit) {
    const O **left = walk.of_part(pointers, part);
    const int64_t alive = walk.alive(part, step);
    for (int64_t q = 0; q < alive; ++q) left[q] = of_x + walk.row(part, step, q) * kGRUGates * units;
    multiply_panels<O>(alive, left, kGRUGates * units, inner_panels, cell.inner_size, visit);
  }

  // The gradient of h0, after step 0; incoming(q, unit) as in `step`.
  template <class Incoming>
  void first_state(int64_t part, Incoming incoming) {
    from_next(part, 0, walk.alive(part, 0), [&](int64_t q, int64_t unit, Vector<T> sum) {
      T *to = static_cast<T *>(d.h0) + walk.order[walk.rank(part, q)] * H + unit;
      store(to, sum + incoming(q, unit), H - unit);
    });
  }

  // The gradients of the pre-activations of all steps, and the operands of a row of them.
  OuterRows<O> rows() const { return {of_x, walk.rows}; }
  int64_t row_width() const { return kGRUGates * units; }

  // For some outer rows: writes the gradient of the outer part of x to to(row), and packs x(row), a left factor of the
  // weights' gradients.
  template <class X, class To>
  void outer_gradient(const OuterRows<O> &rows, int64_t chunk, int worker, X x, To to) {
    const int64_t first = chunk * kStepRows, end = first + kStepRows < rows.count ? first + kStepRows : rows.count;
    const O *left[kStepRows];
    for (int64_t at = first; at < end; ++at) left[at - first] = rows.gradients + at * kGRUGates * units;
    multiply_panels<O>(end - first, left, kGRUGates * units, outer_panels, cell.outer_size,
                       [&](int64_t r, int64_t unit, Vector<T> sum) {
                         store(to(first + r) + unit, sum, cell.outer_size - unit);
                       });
    pack_inputs<T>(outer_tiles, cell.outer_size, rows.count, first, lines + worker * kStepRows * outer, x);
  }

  // Packs the other left factors of the weights' gradients, of some rows: the saved arrays.
  void pack_saved(int64_t chunk) {
    const int64_t first = chunk * kStepRows;
    pack_tiles(joint_tiles, cell.inner_size, walk.rows, first, [&](int64_t at) { return joints(at); });
    pack_tiles(hidden_tiles(), H, walk.rows, first, [&](int64_t at) { return joints(at) + inner; });
  }

  // Gradients of the weights of L units: sums over all steps. Each worker has its own `memory`.
  void weights(const OuterRows<O> &outer_rows, int64_t block, GradientMemory<T, O> memory) {
    const int64_t unit = block * L, width = cell.input_size(), first = block * kGRUGates * L, stride = kGRUGates * units;
    T *input = static_cast<T *>(d.weight_input);
    const Factor<T, O> inputs[] = {{outer_tiles, cell.outer_size, input, width},
                                   {joint_tiles, cell.inner_size, input + cell.outer_size, width}};
    const Factor<T, O> hidden[] = {{hidden_tiles(), H, static_cast<T *>(d.weight_hidden), H}};
    const bool sums = outer_rows.gradients != of_x;  // which are not the rows of the other factors
    weight_gradient<T, O, kGRUGates>(of_x + first, stride, walk.rows, inputs + sums, 2 - sums, static_cast<T *>(d.bias),
                                     {2, 0, 1}, unit, H, memory);
    if (sums)
      weight_gradient<T, O, kGRUGates>(outer_rows.gradients + first, stride, outer_rows.count, inputs, 1, nullptr, {2, 0, 1},
                                       unit, H, memory);
    weight_gradient<T, O, kGRUGates>(of_h + first, stride, walk.rows, hidden, 1, static_cast<T *>(d.bias_hidden),
                                     {2, 0, 1}, unit, H, memory);
    if (cell.normalizes) norm.write(d, unit);
  }

  // h_{t-1} of all rows, packed by pack_tiles.
  O *hidden_tiles() const { return joint_tiles + tiled<O>(cell.inner_size) * in_steps<O>(walk.rows); }

 private:
  static constexpr int L = kLanes<T>;
  const CellShape &cell;
  const CellGradients &d;
  const Walk &walk;
  CellSaved<T, O> saved;  // its `cells` are h
  const int64_t H = cell.hidden_size, units = in_lanes<T>(H);
  const int64_t outer = in_lanes<T>(cell.outer_size), inner = in_lanes<T>(cell.inner_size);
  O *outer_panels, *inner_panels, *hidden_panels;  // packed by pack_rows
  O *of_x, *of_h;  // (rows, Hp/L, 3, L): of n_x, r, z, and of n_h, r, z
  T *states;       // (B, Hp): of h_{t-1}, what does not pass through the gates of step t, by rank
  const O **pointers;
  O *outer_tiles, *joint_tiles;  // packed by pack_tiles
  O *lines;                      // for each thread: some rows of x, where they are not operands
  NormalizedBackward<T> norm;

  const O *joints(int64_t at) const { return saved.joints + at * (inner + units); }

  // visit(q, unit, sum): L numbers of what step `step` adds to the gradient of h_{t-1} of `count` sequences.
  template <class Visit>
  void from_next(int64_t part, int64_t step, int64_t count, Visit visit) {
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < count; ++q) left[q] = of_h + walk.row(part, step, q) * kGRUGates * units;
    multiply_panels<O>(count, left, kGRUGates * units, hidden_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      visit(q, unit, sum + load(states + walk.rank(part, q) * units + unit));
    });
  }

  // The gradients of L units of a row, given that of h_t. Not inlined: it is long and has several callers.
  [[gnu::noinline]] void update(int64_t part, int64_t step, int64_t q, int64_t unit, Vector<T> dh) {
    const int64_t at = walk.row(part, step, q);
    const T *own = saved.gates + (at * units + unit) * kGates;
    const GRUGates<T> gate{load(own + L), load(own + 2 * L), load(own), load(own + 3 * L)};
    const Vector<T> of_before = split(at, unit, dh);
    const GRUGates<T> dz = gru_gradient(dh, gate, load(saved.cells + walk.previous[at] * units + unit));
    keep(at, unit, dz);
    store(states + walk.rank(part, q) * units + unit, cell.keeps_states() ? dh + of_before : dh);
  }

  // (43): the gradient of h_t becomes that of h̃_t; returns that of h_{t-1}, 0 without zoneout.
  [[gnu::always_inline]] inline Vector<T> split(int64_t at, int64_t unit, Vector<T> &dh) const {
    if (!cell.keeps_states()) return Vector<T>{};
    const Vector<T> taken = share_taken<T>(cell.taken_h, walk, at, unit, H), of_before = (splat<T>(1) - taken) * dh;
    dh = taken * dh;
    return of_before;
  }

  // The gradients of a row with layer normalisation, given that of h_t in `states`.
  void update_normalized(int64_t part, int64_t step, int64_t q) {
    const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q);
    const Vector<T> one = splat<T>(1);
    T *d_r = norm.gradients(part, 0), *d_z = norm.gradients(part, 1), *d_n = norm.gradients(part, 2);
    for (int64_t unit = 0; unit < units; unit += L) {
      T *state = states + rank * units + unit;
      const T *own = saved.gates + (at * units + unit) * kGates;
      const Vector<T> n = load(own), z = load(own + 2 * L);
      Vector<T> dh = load(state);
      const Vector<T> of_before = split(at, unit, dh);
      store(d_n + unit, dh * (one - z) * fma(-n, n, one));
      store(d_z + unit, dh * (load(saved.cells + walk.previous[at] * units + unit) - n) * (z * (one - z)));
      store(state, fma(dh, z, of_before));
    }
    norm.run(part, rank, at, 1);
    norm.run(part, rank, at, 2);
    for (int64_t unit = 0; unit < units; unit += L) {
      const T *own = saved.gates + (at * units + unit) * kGates;
      const Vector<T> r = load(own + L);
      store(d_r + unit, load(d_n + unit) * load(own + 3 * L) * (r * (one - r)));
    }
    norm.run(part, rank, at, 0);
    for (int64_t unit = 0; unit < units; unit += L) {
      const Vector<T> n = load(d_n + unit), r = load(saved.gates + (at * units + unit) * kGates + L);
      keep(at, unit, {load(d_r + unit), load(d_z + unit), n, n * r});
    }
  }

  [[gnu::always_inline]] inline void keep(int64_t at, int64_t unit, const GRUGates<T> &dz) const {
    O *to_x = of_x + (at * units + unit) * kGRUGates, *to_h = of_h + (at * units + unit) * kGRUGates;
    store_operand(to_x, dz.n);
    store_operand(to_h, dz.n_h);
    for (O *to : {to_x, to_h}) {
      store_operand(to + L, dz.r);
      store_operand(to + 2 * L, dz.z);
    }
  }
};

}  // namespace
