// Equations (1)-(6) over all steps of a ragged batch.
#pragma once

#include "lstm_layout.h"
#include "product.h"
#include "workers.h"

namespace {

template <class T>
class LSTMForward {
 public:
  explicit LSTMForward(const peephole_lstm &problem)
      : p(problem), s(problem, problem.scratch), saved(problem, Arena(problem.saved)) {}

  void run() {
    s.walk.find(p);
    int64_t blocks = units / L;
    for_tasks(p.threads, blocks, [this](int64_t block, int) { pack(block); });
    for_tasks(p.threads, (s.walk.rows + kStepRows - 1) / kStepRows, [this](int64_t task, int) { project(task); });
    parts = p.threads < p.batch ? p.threads : p.batch;
    for_tasks(p.threads, parts, [this](int64_t part, int) { walk_steps(part); });
  }

 private:
  static constexpr int L = kLanes<T>;
  const peephole_lstm &p;
  ForwardScratch<T> s;
  Saved<T> saved;
  const int64_t H = p.hidden_size, I = p.input_size, units = (H + L - 1) / L * L;
  const bool full = p.form == PEEPHOLE_FULL, diagonal = p.form == PEEPHOLE_DIAGONAL;
  int64_t parts = 1;

  const T *x() const { return static_cast<const T *>(p.x); }
  T *out() const { return static_cast<T *>(p.out); }
  T *panel_input(int64_t block) const { return s.weight_input + block * I * 4 * L; }
  T *panel_hidden(int64_t block) const { return s.weight_hidden + block * H * 4 * L; }
  T *panel_peephole(int64_t block) const { return s.weight_peephole + block * H * 3 * L; }

  // Packs what belongs to L units: gates i, f, g, o side by side; of the full peepholes W_co, W_ci, W_cf.
  void pack(int64_t block) {
    int64_t unit = block * L;
    const auto *bias = static_cast<const T *>(p.bias), *peephole = static_cast<const T *>(p.weight_peephole);
    pack_gates(panel_input(block), static_cast<const T *>(p.weight_input), I, {0, 1, 2, 3}, unit, H);
    pack_gates(panel_hidden(block), static_cast<const T *>(p.weight_hidden), H, {0, 1, 2, 3}, unit, H);
    for (int gate = 0; gate < 4; ++gate)
      store(s.bias + (block * 4 + gate) * L, unit < H ? load(bias + gate * H + unit, H - unit) : Vector<T>{});
    if (full) pack_gates(panel_peephole(block), peephole, H, {2, 0, 1}, unit, H);
    if (diagonal)
      for (int gate = 0; gate < 3; ++gate)
        store(s.weight_peephole + gate * units + unit, unit < H ? load(peephole + gate * H + unit, H - unit) : Vector<T>{});
    const auto *c0 = static_cast<const T *>(p.c0);
    for (int64_t rank = 0; rank < p.batch; ++rank) {
      Vector<T> c{};
      if (unit < H) c = load(c0 + s.walk.order[rank] * H + unit, H - unit);
      store(s.first_cells + rank * units + unit, c);
    }
  }

  // W_x x_t + b for some rows: it needs nothing from the recurrence.
  void project(int64_t task) {
    int64_t first = task * kStepRows, rows = s.walk.rows - first < kStepRows ? s.walk.rows - first : kStepRows;
    const T *inputs[kStepRows];
    for (int64_t r = 0; r < rows; ++r) inputs[r] = x() + s.walk.place[first + r] * I;
    for (int64_t block = 0; block < units / L; ++block)
      for_tiles(rows, [&](int64_t r, int64_t n) {
        T *to = saved.gates + (first + r) * 4 * units + block * 4 * L;
        tile_of<T>(n, 4)(I, inputs + r, panel_input(block), s.bias + block * 4 * L, 0, to, 4 * units);
      });
  }

  // All steps of the ranks part, part + parts, …: every part has long and short sequences.
  void walk_steps(int64_t part) {
    int64_t most = ranks_below(s.walk.active[0], part);
    const T **hidden = s.pointers + 2 * (part * (p.batch / parts) + (part < p.batch % parts ? part : p.batch % parts));
    const T **cells = hidden + most;
    for (int64_t step = 0; step < s.walk.steps; ++step) {
      int64_t alive = ranks_below(s.walk.active[step], part);
      for (int64_t q = 0; q < alive; ++q) {
        int64_t rank = part + q * parts, before = s.walk.previous[s.walk.offset[step] + rank];
        hidden[q] = step ? out() + s.walk.place[before] * H : static_cast<const T *>(p.h0) + s.walk.order[rank] * H;
        cells[q] = step ? saved.cells + before * units : s.first_cells + rank * units;
      }
      if (full && step == 0) look(part, alive, cells, -1);
      for (int64_t block = 0; block < units / L; ++block)
        for_tiles(alive, [&](int64_t q, int64_t n) {
          T sums[kTileRows * 4 * L];
          const T *projected = saved.gates + row(part, step, q) * 4 * units + block * 4 * L;
          tile_of<T>(n, 4)(H, hidden + q, panel_hidden(block), projected, parts * 4 * units, sums, 4 * L);
          for (int64_t r = 0; r < n; ++r) update(part, step, q + r, block, sums + r * 4 * L, cells[q + r]);
        });
      if (full) {
        for (int64_t q = 0; q < alive; ++q) cells[q] = saved.cells + row(part, step, q) * units;
        look(part, alive, cells, step);
      }
      finish(part, step, ranks_below(s.walk.active[step + 1], part), alive);
    }
  }

  // (1)-(6) for L units of one row, given all but the peepholes in z; in the full form up to (4).
  void update(int64_t part, int64_t step, int64_t q, int64_t block, const T *z, const T *cell_before) {
    int64_t unit = block * L, rank = part + q * parts;
    Vector<T> z_i = load(z), z_f = load(z + L), z_g = load(z + 2 * L), z_o = load(z + 3 * L);
    Vector<T> before = load(cell_before + unit);
    if (full) {
      const T *look = s.looks + (rank * units + unit) * 2;
      z_i += load(look);
      z_f += load(look + L);
    }
    if (diagonal) {
      z_i = fma(load(s.weight_peephole + unit), before, z_i);
      z_f = fma(load(s.weight_peephole + units + unit), before, z_f);
    }
    Vector<T> i = sigmoid<T>(z_i), f = sigmoid<T>(z_f), g = tanh<T>(z_g);  // (2), (1), (3)
    Vector<T> c = fma(f, before, i * g);                                   // (4)
    if (diagonal) z_o = fma(load(s.weight_peephole + 2 * units + unit), c, z_o);
    T *gates = saved.gates + row(part, step, q) * 4 * units + block * 4 * L;
    store(gates, i);
    store(gates + L, f);
    store(gates + 2 * L, g);
    store(saved.cells + row(part, step, q) * units + unit, c);
    if (full)
      store(gates + 3 * L, z_o);  // W_co c is still to come
    else
      emit(part, step, q, block, z_o, c);
  }

  // Full peepholes: W_c c of a step serves o of that step and i, f of the next. Step -1 is c0, which has no o.
  void look(int64_t part, int64_t alive, const T *const *cells, int64_t step) {
    for (int64_t block = 0; block < units / L; ++block)
      for_tiles(alive, [&](int64_t q, int64_t n) {
        T sums[kTileRows * 3 * L];
        tile_of<T>(n, 3)(H, cells + q, panel_peephole(block), nullptr, 0, sums, 3 * L);
        for (int64_t r = 0; r < n; ++r) {
          const T *sum = sums + r * 3 * L;
          T *to = s.looks + ((part + (q + r) * parts) * units + block * L) * 2;
          store(to, load(sum + L));
          store(to + L, load(sum + 2 * L));
          if (step < 0) continue;
          const T *z_o = saved.gates + row(part, step, q + r) * 4 * units + (block * 4 + 3) * L;
          emit(part, step, q + r, block, load(z_o) + load(sum), load(cells[q + r] + block * L));
        }
      });
  }

  // (5), (6)
  void emit(int64_t part, int64_t step, int64_t q, int64_t block, Vector<T> z_o, Vector<T> c) {
    Vector<T> o = sigmoid<T>(z_o);
    Vector<T> h = o * tanh<T>(c);
    int64_t at = row(part, step, q), unit = block * L;
    store(saved.gates + at * 4 * units + (block * 4 + 3) * L, o);
    store(out() + s.walk.place[at] * H + unit, h, H - unit);
  }

  // Writes the last state of the sequences that end with this step, and 0 past their length.
  void finish(int64_t part, int64_t step, int64_t first, int64_t end) {
    for (int64_t q = first; q < end; ++q) {
      int64_t at = row(part, step, q), b = s.walk.order[part + q * parts], length = p.lengths[b];
      std::memcpy(static_cast<T *>(p.h_last) + b * H, out() + s.walk.place[at] * H, size_t(H) * sizeof(T));
      std::memcpy(static_cast<T *>(p.c_last) + b * H, saved.cells + at * units, size_t(H) * sizeof(T));
      std::memset(out() + (b * p.steps + length) * H, 0, size_t((p.steps - length) * H) * sizeof(T));
    }
  }

  int64_t row(int64_t part, int64_t step, int64_t q) const { return s.walk.offset[step] + part + q * parts; }
  int64_t ranks_below(int64_t end, int64_t part) const { return end > part ? (end - part + parts - 1) / parts : 0; }
};

}  // namespace
