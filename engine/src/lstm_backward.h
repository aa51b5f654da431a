// Gradients of equations (1)-(6), from the last step to the first. A name here is the gradient of the forward's name:
// `gates` holds those of the pre-activations z_i, z_f, z_g, z_o.
#pragma once

#include "lstm_layout.h"
#include "product.h"
#include "workers.h"

namespace {

template <class T>
class LSTMBackward {
 public:
  LSTMBackward(const peephole_lstm &problem, const peephole_lstm_gradients &gradients)
      : p(problem), d(gradients), s(problem, problem.scratch), saved(problem, Arena(problem.saved)) {}

  void run() {
    s.walk.find(p);
    for_tasks(p.threads, units / L, [this](int64_t block, int) { pack(block); });
    parts = p.threads < p.batch ? p.threads : p.batch;
    for_tasks(p.threads, parts, [this](int64_t part, int) { walk_steps(part); });
    int64_t chunks = (s.walk.rows + kStepRows - 1) / kStepRows;
    for_tasks(p.threads, chunks, [this](int64_t chunk, int) { inputs(chunk); });
    int64_t tasks = (4 * H + s.gradient_rows - 1) / s.gradient_rows;
    for_tasks(p.threads, tasks, [this](int64_t task, int worker) { weights(task * s.gradient_rows, worker); });
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr int64_t kPanel = kPanelVectors * L;
  const peephole_lstm &p;
  const peephole_lstm_gradients &d;
  BackwardScratch<T> s;
  Saved<T> saved;
  const int64_t H = p.hidden_size, I = p.input_size, units = (H + L - 1) / L * L;
  const bool full = p.form == PEEPHOLE_FULL, diagonal = p.form == PEEPHOLE_DIAGONAL;
  int64_t parts = 1;

  static const T *in(const void *array) { return static_cast<const T *>(array); }
  static T *to(void *array) { return static_cast<T *>(array); }

  // Packs the rows of the weights that belong to L units, in the order in which `gates` and `looks` hold them.
  void pack(int64_t block) {
    int64_t first = block * L;
    auto gate_row = [this](const void *weight, int64_t width) {
      return [=](int64_t k) -> const T * {
        int64_t unit = k / (4 * L) * L + k % L, gate = k / L % 4;
        return unit < H ? in(weight) + (gate * H + unit) * width : nullptr;
      };
    };
    pack_rows(s.weight_input, I, 4 * units, 4 * first, 4 * (first + L), gate_row(p.weight_input, I));
    pack_rows(s.weight_hidden, H, 4 * units, 4 * first, 4 * (first + L), gate_row(p.weight_hidden, H));
    if (full)
      for (int64_t look = 0; look < 3; ++look)
        pack_rows(s.weight_peephole, H, 3 * units, look * units + first, look * units + first + L, [=](int64_t k) {
          int64_t unit = k % units;
          return unit < H ? in(p.weight_peephole) + ((look + 2) % 3 * H + unit) * H : nullptr;  // o, i, f
        });
    if (diagonal)
      for (int gate = 0; gate < 3; ++gate)
        store(s.weight_peephole + gate * units + first, load_units(in(p.weight_peephole) + gate * H, first));
    for (int64_t rank = 0; rank < p.batch; ++rank)
      store(s.first_cells + rank * units + first, load_units(in(p.c0) + s.walk.order[rank] * H, first));
  }

  // All steps of the ranks part, part + parts, …, backwards.
  void walk_steps(int64_t part) {
    const T **pointers = s.pointers + 2 * (part * (p.batch / parts) + (part < p.batch % parts ? part : p.batch % parts));
    for (int64_t step = s.walk.steps - 1; step >= 0; --step) {
      int64_t alive = ranks_below(s.walk.active[step], part), going_on = ranks_below(s.walk.active[step + 1], part);
      for (int64_t q = going_on; q < alive; ++q) begin(part, step, q);
      for (int64_t q = 0; q < going_on; ++q) pointers[q] = s.gates + row(part, step + 1, q) * 4 * units;
      hidden(part, step, alive, going_on, pointers);
      if (full) cells(part, step, alive, pointers);
    }
    first_state(part, pointers);
  }

  // A sequence's last step: what comes from after it is the gradient of its last state.
  void begin(int64_t part, int64_t step, int64_t q) {
    int64_t rank = part + q * parts;
    for (int64_t unit = 0; unit < units; unit += L)
      store(s.cells + rank * units + unit, load_units(in(d.c_last) + s.walk.order[rank] * H, unit));
    if (full) std::memset(looks(step, rank) + units, 0, size_t(2 * units) * sizeof(T));
  }

  // Gradient of h_t: of the output, and W_h of the next step's gates; then of o, and all else without full peepholes.
  void hidden(int64_t part, int64_t step, int64_t alive, int64_t going_on, const T *const *next_gates) {
    for_panels<T>(H, [&](Columns<T> panel) {
      int64_t width = panel.width();
      for_tiles(going_on, [&](int64_t q, int64_t n) {
        T sums[kTileRows * kPanel];
        tile_of<T>(n, panel.vectors())(4 * units, next_gates + q, s.weight_hidden + panel.first * 4 * units, nullptr, 0,
                                       sums, width);
        for (int64_t r = 0; r < n; ++r)
          for (int v = 0; v < panel.vectors(); ++v)
            output_gate(part, step, q + r, panel.first + v * L, load(sums + r * width + v * L));
      });
      for (int64_t q = going_on; q < alive; ++q)
        for (int v = 0; v < panel.vectors(); ++v) {
          int64_t unit = panel.first + v * L;
          output_gate(part, step, q, unit, load_units(in(d.h_last) + s.walk.order[part + q * parts] * H, unit));
        }
    });
  }

  // (6), (5) for L units; `dh` lacks the output's gradient.
  void output_gate(int64_t part, int64_t step, int64_t q, int64_t unit, Vector<T> dh) {
    int64_t at = row(part, step, q), rank = part + q * parts;
    const Vector<T> one = splat<T>(1);
    dh += load_units(in(d.out) + s.walk.place[at] * H, unit);
    Vector<T> o = load(saved.gates + (at * units + unit) * 4 + 3 * L);
    Vector<T> tanh_c = tanh<T>(load(saved.cells + at * units + unit));
    Vector<T> dz_o = dh * tanh_c * (o * (one - o));
    Vector<T> dc = fma(dh * o, fma(-tanh_c, tanh_c, one), load(s.cells + rank * units + unit));
    store(s.gates + (at * units + unit) * 4 + 3 * L, dz_o);
    if (full) {
      store(looks(step, rank) + unit, dz_o);
      store(s.cells + rank * units + unit, dc);
      return;
    }
    if (diagonal) dc = fma(dz_o, load(s.weight_peephole + 2 * units + unit), dc);
    cell(part, step, q, unit, dc);
  }

  // Full peepholes: o of this step and i, f of the next looked at c_t.
  void cells(int64_t part, int64_t step, int64_t alive, const T **pointers) {
    for (int64_t q = 0; q < alive; ++q) pointers[q] = looks(step, part + q * parts);
    for_panels<T>(H, [&](Columns<T> panel) {
      int64_t width = panel.width();
      for_tiles(alive, [&](int64_t q, int64_t n) {
        T sums[kTileRows * kPanel];
        const T *first = s.cells + (part + q * parts) * units + panel.first;
        tile_of<T>(n, panel.vectors())(3 * units, pointers + q, s.weight_peephole + panel.first * 3 * units, first,
                                       parts * units, sums, width);
        for (int64_t r = 0; r < n; ++r)
          for (int v = 0; v < panel.vectors(); ++v)
            cell(part, step, q + r, panel.first + v * L, load(sums + r * width + v * L));
      });
    });
  }

  // (4), (3), (2), (1) for L units, given the whole gradient of c_t; leaves that of c_{t-1}.
  void cell(int64_t part, int64_t step, int64_t q, int64_t unit, Vector<T> dc) {
    int64_t at = row(part, step, q), rank = part + q * parts;
    const Vector<T> one = splat<T>(1);
    const T *gates = saved.gates + (at * units + unit) * 4;
    Vector<T> i = load(gates), f = load(gates + L), g = load(gates + 2 * L);
    Vector<T> before = load(cells_before(at) + unit);
    Vector<T> dz_i = dc * g * (i * (one - i));
    Vector<T> dz_f = dc * before * (f * (one - f));
    Vector<T> dz_g = dc * i * fma(-g, g, one);
    T *to = s.gates + (at * units + unit) * 4;
    store(to, dz_i);
    store(to + L, dz_f);
    store(to + 2 * L, dz_g);
    dc = dc * f;
    if (diagonal) {
      dc = fma(dz_i, load(s.weight_peephole + unit), dc);
      dc = fma(dz_f, load(s.weight_peephole + units + unit), dc);
    }
    store(s.cells + rank * units + unit, dc);
    if (full) {
      store(looks(step - 1, rank) + units + unit, dz_i);
      store(looks(step - 1, rank) + 2 * units + unit, dz_f);
    }
  }

  // Gradients of h0 and c0.
  void first_state(int64_t part, const T **pointers) {
    int64_t alive = ranks_below(p.batch, part);
    for (int64_t q = 0; q < alive; ++q) pointers[q] = s.gates + row(part, 0, q) * 4 * units;
    multiply(part, alive, pointers, 4 * units, s.weight_hidden, nullptr, to(d.h0));
    if (full) {
      for (int64_t q = 0; q < alive; ++q) {
        T *look = looks(-1, part + q * parts);
        std::memset(look, 0, size_t(units) * sizeof(T));  // no output gate looked at c0
        pointers[q] = look;
      }
      multiply(part, alive, pointers, 3 * units, s.weight_peephole, s.cells, to(d.c0));
      return;
    }
    for (int64_t q = 0; q < alive; ++q) {
      int64_t rank = part + q * parts;
      std::memcpy(to(d.c0) + s.walk.order[rank] * H, s.cells + rank * units, size_t(H) * sizeof(T));
    }
  }

  void multiply(int64_t part, int64_t alive, const T *const *left, int64_t depth, const T *weight, const T *first,
                T *result) {
    for_panels<T>(H, [&](Columns<T> panel) {
      int64_t width = panel.width();
      for_tiles(alive, [&](int64_t q, int64_t n) {
        T sums[kTileRows * kPanel];
        const T *from = first ? first + (part + q * parts) * units + panel.first : nullptr;
        tile_of<T>(n, panel.vectors())(depth, left + q, weight + panel.first * depth, from, parts * units, sums, width);
        for (int64_t r = 0; r < n; ++r)
          for (int v = 0; v < panel.vectors(); ++v) {
            T *to = result + s.walk.order[part + (q + r) * parts] * H + panel.first + v * L;
            store(to, load(sums + r * width + v * L), panel.in(v));
          }
      });
    });
  }

  // Gradient of some rows of x, and 0 past the lengths of the sequences that end in them.
  void inputs(int64_t chunk) {
    int64_t first = chunk * kStepRows, rows = s.walk.rows - first < kStepRows ? s.walk.rows - first : kStepRows;
    const T *gates[kStepRows];
    for (int64_t r = 0; r < rows; ++r) gates[r] = s.gates + (first + r) * 4 * units;
    for_panels<T>(I, [&](Columns<T> panel) {
      int64_t width = panel.width();
      for_tiles(rows, [&](int64_t r, int64_t n) {
        T sums[kTileRows * kPanel];
        tile_of<T>(n, panel.vectors())(4 * units, gates + r, s.weight_input + panel.first * 4 * units, nullptr, 0, sums,
                                       width);
        for (int64_t k = 0; k < n; ++k)
          for (int v = 0; v < panel.vectors(); ++v) {
            T *to = static_cast<T *>(d.x) + s.walk.place[first + r + k] * I + panel.first + v * L;
            store(to, load(sums + k * width + v * L), panel.in(v));
          }
      });
    });
    for (int64_t r = first; r < first + rows && r < p.batch; ++r) {  // the rows of the first step: one a sequence
      int64_t b = s.walk.order[r], length = p.lengths[b];
      std::memset(to(d.x) + (b * p.steps + length) * I, 0, size_t((p.steps - length) * I) * sizeof(T));
    }
  }

  // Rows [row0, row0 + gradient_rows) of the weights' gradients: sums over all steps, in blocks of steps.
  void weights(int64_t row0, int worker) {
    int64_t end = row0 + s.gradient_rows < 4 * H ? row0 + s.gradient_rows : 4 * H;
    T *left = s.left + worker * kDepthBlock * s.gradient_rows, *line = s.line + worker * s.gradient_rows;
    std::memset(to(d.bias) + row0, 0, size_t(end - row0) * sizeof(T));
    if (diagonal) clear_diagonal(row0, end);
    for (int64_t k0 = 0; k0 < s.walk.rows; k0 += kDepthBlock) {
      int64_t depth = s.walk.rows - k0 < kDepthBlock ? s.walk.rows - k0 : kDepthBlock;
      for (int64_t k = 0; k < depth; ++k) {
        gather(line, s.gates + (k0 + k) * 4 * units, row0, end);
        for (int64_t m = row0; m < end; ++m) to(d.bias)[m] += line[m - row0];
        if (diagonal) add_diagonal(line, k0 + k, row0, end);
        for (int64_t tile = 0; tile < s.gradient_rows / kTileRows; ++tile)
          std::memcpy(left + (tile * kDepthBlock + k) * kTileRows, line + tile * kTileRows, kTileRows * sizeof(T));
      }
      auto input = [&](int64_t k) { return in(p.x) + s.walk.place[k0 + k] * I; };
      auto hidden = [&](int64_t k) { return hidden_before(k0 + k); };
      auto before = [&](int64_t k) { return cells_before(k0 + k); };
      auto now = [&](int64_t k) -> const T * { return saved.cells + (k0 + k) * units; };
      outer(to(d.weight_input), I, row0, row0, end, k0, depth, worker, input);
      outer(to(d.weight_hidden), H, row0, row0, end, k0, depth, worker, hidden);
      if (!full) continue;
      T *peephole = to(d.weight_peephole);
      int64_t end_f = end < 2 * H ? end : 2 * H, first_o = row0 > 3 * H ? row0 : 3 * H;
      if (row0 < end_f) outer(peephole, H, row0, row0, end_f, k0, depth, worker, before);
      if (first_o < end) outer(peephole - H * H, H, row0, first_o, end, k0, depth, worker, now);  // block o, 3, is third
    }
  }

  // Rows [first, end) of a gradient += gatesᵀ · right, over rows k0 … k0 + depth of the steps.
  template <class Row>
  void outer(T *gradient, int64_t width, int64_t row0, int64_t first, int64_t end, int64_t k0, int64_t depth,
             int worker, Row row) {
    const T *left = s.left + worker * kDepthBlock * s.gradient_rows;
    T *right = s.right + worker * kDepthBlock * s.widest;
    pack_rows(right, width, depth, 0, depth, row);
    for_panels<T>(width, [&](Columns<T> panel) {
      int64_t tile_end = (end - row0 + kTileRows - 1) / kTileRows;
      for (int64_t tile = (first - row0) / kTileRows; tile < tile_end; ++tile) {
        T sums[kTileRows * kPanel];
        outer_tile<T>(panel.vectors(), depth, left + tile * kDepthBlock * kTileRows, right + panel.first * depth,
                      sums);
        for (int64_t r = 0; r < kTileRows; ++r) {
          int64_t m = row0 + tile * kTileRows + r;
          if (m < first || m >= end) continue;
          for (int v = 0; v < panel.vectors(); ++v) {
            T *to = gradient + m * width + panel.first + v * L;
            Vector<T> sum = load(sums + r * panel.width() + v * L);
            if (k0) sum += load(to, panel.in(v));
            store(to, sum, panel.in(v));
          }
        }
      }
    });
  }

  // line[m - row0] = the gradient that belongs to row m of weight_input, for m in [row0, end), then 0.
  void gather(T *line, const T *gates, int64_t row0, int64_t end) const {
    for (int64_t m = row0; m < end;) {
      int64_t gate = m / H, unit = m % H;
      int64_t run = L - unit % L;  // units that lie side by side
      if (run > H - unit) run = H - unit;
      if (run > end - m) run = end - m;
      store(line + (m - row0), load(gates + (unit / L * 4 + gate) * L + unit % L, run), run);
      m += run;
    }
    for (int64_t m = end; m < row0 + s.gradient_rows; ++m) line[m - row0] = 0;
  }

  // Diagonal peepholes of gates i, f (rows below 2H) and o (from 3H); their gradient stands in the order i, f, o.
  void clear_diagonal(int64_t row0, int64_t end) {
    for (int64_t m = row0; m < end; ++m)
      if (m / H != 2) to(d.weight_peephole)[m - m / H / 3 * H] = 0;
  }
  void add_diagonal(const T *line, int64_t k, int64_t row0, int64_t end) {
    const T *before = cells_before(k), *now = saved.cells + k * units;
    T *peephole = to(d.weight_peephole);
    for (int64_t gate = 0; gate < 4; ++gate) {
      if (gate == 2) continue;
      const T *c = gate == 3 ? now : before;
      int64_t first = gate * H > row0 ? gate * H : row0, last = (gate + 1) * H < end ? (gate + 1) * H : end;
      for (int64_t m = first; m < last; ++m) peephole[m - gate / 3 * H] += line[m - row0] * c[m - gate * H];
    }
  }

  // h and c before a row's step.
  const T *hidden_before(int64_t at) const {
    int64_t before = s.walk.previous[at];
    return before < 0 ? in(p.h0) + s.walk.order[before + p.batch] * H : in(p.out) + s.walk.place[before] * H;
  }
  const T *cells_before(int64_t at) const {
    int64_t before = s.walk.previous[at];
    return before < 0 ? s.first_cells + (before + p.batch) * units : saved.cells + before * units;
  }

  // (3, Hp) of a rank: o of this step, i and f of the next. Two steps alternate, since i, f are written while the
  // product over this one is under way.
  T *looks(int64_t step, int64_t rank) const { return s.looks + (((step & 1) * p.batch + rank) * 3) * units; }

  // L numbers from `unit` on of a row of H.
  Vector<T> load_units(const T *array, int64_t unit) const { return load(array + unit, H - unit); }
  int64_t row(int64_t part, int64_t step, int64_t q) const { return s.walk.offset[step] + part + q * parts; }
  int64_t ranks_below(int64_t end, int64_t part) const { return end > part ? (end - part + parts - 1) / parts : 0; }
};

}  // namespace
