// One recurrent layer in one direction over a ragged batch, and its gradients.
#pragma once

#include "train/cell_forward.h"
#include "train/cell_kinds.h"
#include "train/distinct_inputs.h"
#include "runtime/workers.h"

namespace {

inline CellShape shape_of(const peephole_lstm &p) {
  return {p.form,          p.hidden_size, p.input_size,      0,    p.weight_input,
          p.weight_hidden, p.bias,        p.weight_peephole, p.h0, p.c0, p.bias_hidden,
          p.zoneout,       p.taken_h,     p.taken_c,         p.cell == PEEPHOLE_GRU, p.layer_norm != 0, p.gain, p.cell_gain, p.cell_bias};
}

template <class T, class O, class Cell>
struct LSTMForward {
  const peephole_lstm &p;
  Arena scratch{p.scratch}, kept{p.saved};
  CellShape shape = shape_of(p);
  Walk walk{p.batch, p.steps, p.threads, scratch};
  CellSaved<T, O> saved{shape, p.batch, p.steps, kept};
  typename Cell::template Forward<T, O> cell{shape, walk, saved, p.out, p.threads, scratch};
  const InputTable<T> table;

  LSTMForward(const peephole_lstm &problem, const peephole::DistinctInputs *inputs)
      : p(problem), table(inputs, p.hidden_size, scratch) {}

  void run() {
    walk.find(p.lengths, p.reverse);
    for_tasks(p.threads, cell.blocks(), [this](int64_t block, int) { cell.pack(block); });
    project();
    for_tasks(p.threads, walk.parts, [this](int64_t part, int) {
      for (int64_t step = 0; step < walk.steps; ++step) {
        cell.step(part, step);
        for (int64_t q = walk.alive(part, step + 1); q < walk.alive(part, step); ++q) finish(walk.row(part, step, q));
      }
    });
  }

  void project() {
    if (table) return table.project(cell, walk, p.threads, p.input_size, kGates * in_lanes<T>(p.hidden_size), saved.gates);
    for_tasks(p.threads, cell.chunks(), [this](int64_t chunk, int worker) {
      cell.project(chunk_of(walk, chunk), worker, saved.gates,
                   [this](int64_t at) { return static_cast<const T *>(p.x) + walk.position[at] * p.input_size; });
    });
  }

  // Writes the last state of the sequence that ends with a row, and 0 past its length.
  void finish(int64_t at) {
    int64_t H = p.hidden_size, b = walk.position[at] / p.steps, length = p.lengths[b];
    T *out = static_cast<T *>(p.out);
    std::memcpy(static_cast<T *>(p.h_last) + b * H, out + walk.position[at] * H, size_t(H) * sizeof(T));
    if (p.c_last) std::memcpy(static_cast<T *>(p.c_last) + b * H, saved.cells + (p.batch + at) * in_lanes<T>(H), size_t(H) * sizeof(T));
    std::memset(out + (b * p.steps + length) * H, 0, size_t((p.steps - length) * H) * sizeof(T));
  }
};

template <class T, class O, class Cell>
struct LSTMBackward {
  const peephole_lstm &p;
  const peephole_lstm_gradients &d;
  Arena scratch{p.scratch}, kept{p.saved};
  CellShape shape = shape_of(p);
  CellGradients gradients{d.weight_input, d.weight_hidden, d.bias, d.weight_peephole, d.h0, d.c0, d.bias_hidden, d.gain, d.cell_gain, d.cell_bias};
  Walk walk{p.batch, p.steps, p.threads, scratch};
  CellSaved<T, O> saved{shape, p.batch, p.steps, kept};
  typename Cell::template Backward<T, O> cell{shape, gradients, walk, saved, p.threads, scratch};
  WorkerMemory<T, O> memory{most_tiled<O>(p.input_size) + most_tiled<O>(p.hidden_size), p.threads, scratch};
  const InputSums<T, O> sums;

  LSTMBackward(const peephole_lstm &problem, const peephole_lstm_gradients &g, const peephole::DistinctInputs *inputs)
      : p(problem), d(g), sums(inputs, p.batch * p.steps, p.hidden_size, scratch) {}

  void run() {
    walk.find(p.lengths, p.reverse);
    for_tasks(p.threads, cell.blocks(), [this](int64_t block, int) { cell.pack(block); });
    for_tasks(p.threads, walk.parts, [this](int64_t part, int) { walk_steps(part); });
    OuterRows<O> outer = cell.rows();
    if (sums) outer = sums.add(outer, cell.row_width(), walk, p.threads);
    for_tasks(p.threads, outer.chunks() + cell.chunks(), [&](int64_t task, int worker) {
      if (task >= outer.chunks()) return cell.pack_saved(task - outer.chunks());
      auto x = [&](int64_t row) { return sums ? sums.x(row, p.input_size) : static_cast<const T *>(p.x) + walk.position[row] * p.input_size; };
      auto to = [&](int64_t row) { return sums ? sums.gradient(row, p.input_size) : static_cast<T *>(d.x) + walk.position[row] * p.input_size; };
      cell.outer_gradient(outer, task, worker, x, to);
    });
    for_tasks(p.threads, cell.blocks(), [&](int64_t block, int worker) { cell.weights(outer, block, memory.of(worker)); });
    for (int64_t b = 0; !sums && b < p.batch; ++b)
      std::memset(static_cast<T *>(d.x) + (b * p.steps + p.lengths[b]) * p.input_size, 0,
                  size_t((p.steps - p.lengths[b]) * p.input_size) * sizeof(T));
  }

  void walk_steps(int64_t part) {
    const int64_t H = p.hidden_size;
    for (int64_t step = walk.steps - 1; step >= 0; --step) {
      int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
      auto b = [&](int64_t q) { return walk.order[walk.rank(part, q)]; };
      for (int64_t q = going_on; q < alive; ++q)
        cell.begin(part, step, q, d.c_last ? static_cast<const T *>(d.c_last) + b(q) * H : nullptr);
      cell.step(part, step, [&](int64_t q, int64_t unit) {
        Vector<T> dh{};
        if (unit >= H) return dh;
        dh = load_unit<T>(d.out, walk.position[walk.row(part, step, q)], unit, H);
        if (q >= going_on) dh += load_unit<T>(d.h_last, b(q), unit, H);
        return dh;
      });
    }
    cell.first_state(part, [](int64_t, int64_t) { return Vector<T>{}; });
  }
};

}  // namespace
