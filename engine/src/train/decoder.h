// The decoder's recurrence over all target steps, (10), (13), (15)-(17), and its gradients.
#pragma once

#include <vector>

#include "cell/attention_kinds.h"
#include "runtime/kernels.h"
#include "train/cell_forward.h"
#include "train/cell_kinds.h"
#include "train/distinct_inputs.h"
#include "train/input_feeding.h"
#include "runtime/workers.h"

namespace {

inline std::vector<CellShape> shapes_of(const peephole_decoder &p) {
  std::vector<CellShape> shapes;
  for (int32_t l = 0; l < p.num_layers; ++l) {
    const peephole_decoder_layer &layer = p.layers[l];
    shapes.push_back({p.form, p.hidden_size, l ? 0 : p.embedding_size, l ? p.hidden_size : p.memory_size + fed_size(p),
                      layer.weight_input, layer.weight_hidden, layer.bias, layer.weight_peephole, layer.h0, layer.c0, layer.bias_hidden,
                      p.zoneout, layer.taken_h, layer.taken_c, p.cell == PEEPHOLE_GRU, p.layer_norm != 0, layer.gain, layer.cell_gain,
                      layer.cell_bias});
  }
  return shapes;
}

// The arrays of a problem by row, for forward and backward.
template <class T, class O>
struct DecoderRows {
  using Number = T;
  using Operand = O;
  const peephole_decoder &p;
  Arena scratch{p.scratch}, kept{p.saved};
  std::vector<CellShape> shapes = shapes_of(p);
  Walk walk{p.batch, p.steps, p.threads, scratch};
  std::vector<CellSaved<T, O>> saved;  // of each layer
  const int64_t H = p.hidden_size, M = p.memory_size, A = p.key_size, S = p.source_steps;
  const int64_t units = in_lanes<T>(H), memory_units = in_lanes<T>(M), key_units = in_lanes<T>(A);
  const int64_t lowest_units = in_lanes<T>(M + fed_size(p));  // of the lowest layer's inner input, [c_t ; r_{t-1}]

  explicit DecoderRows(const peephole_decoder &problem) : p(problem) {
    for (const CellShape &shape : shapes) saved.emplace_back(shape, p.batch, p.steps, kept);
  }

  int64_t sequence(int64_t part, int64_t q) const { return walk.order[walk.rank(part, q)]; }
  T *hidden(int64_t layer) const { return static_cast<T *>(p.layers[layer].hidden); }
  // s_{t-1} of a row: the top layer's.
  const T *state_before(int64_t at) const {
    int64_t before = walk.previous[at], top = p.num_layers - 1;
    if (before < p.batch) return static_cast<const T *>(p.layers[top].h0) + walk.order[before] * H;
    return hidden(top) + walk.position[before - p.batch] * H;
  }
  const O *state_operands(int64_t at) const {
    return joint(p.num_layers - 1, at) + (p.num_layers > 1 ? units : lowest_units);
  }
  O *joint(int64_t layer, int64_t at) const {
    return saved[layer].joints + at * ((layer ? units : lowest_units) + units);
  }
  // L factors of the input of a layer above the lowest from the layer below.
  Vector<T> mask(int64_t layer, int64_t at, int64_t unit) const {
    const void *array = p.layers[layer].mask;
    return array ? load_unit<T>(array, walk.position[at], unit, H) : splat<T>(1);
  }
};

template <class T, class O, class Cell>
struct DecoderForward : DecoderRows<T, O> {
  using Rows = DecoderRows<T, O>;
  using Rows::p, Rows::walk, Rows::saved, Rows::H, Rows::M, Rows::scratch;
  static constexpr int L = kLanes<T>;
  std::vector<typename Cell::template Forward<T, O>> cells;
  int64_t *fed;  // (B)  positions of the sequences that go on, for a feed
  const InputTable<T> table;
  const ReadoutForward<T, O> readouts;

  DecoderForward(const peephole_decoder &problem, const peephole::DistinctInputs *inputs)
      : Rows(problem), table(inputs, problem.hidden_size, scratch), readouts(p, walk, scratch) {
    for (int32_t l = 0; l < p.num_layers; ++l)
      cells.emplace_back(this->shapes[l], walk, saved[l], p.layers[l].hidden, p.threads, scratch);
    fed = scratch.template take<int64_t>(p.batch);
  }

  template <class Attention>
  void run(const Attention &attention, const peephole::SymbolFeed *feed) {
    walk.find(p.lengths, false);
    const int64_t blocks = cells[0].blocks(), cell_tasks = p.num_layers * blocks, tasks = cell_tasks + attention.blocks();
    for_tasks(p.threads, tasks + readouts.blocks(), [&](int64_t task, int) {
      if (task < cell_tasks) return cells[task / blocks].pack(task % blocks);
      task < tasks ? attention.pack(task - cell_tasks) : readouts.pack(task - tasks);
    });
    if (!feed) {
      if (table) table.project(cells[0], walk, p.threads, p.embedding_size, kGates * this->units, saved[0].gates);
      for_tasks(p.threads, cells[0].chunks(), [this](int64_t chunk, int worker) {
        project(chunk_of(walk, chunk), worker, table ? 1 : 0);
      });
    }
    for_tasks(p.threads, walk.parts, [&](int64_t part, int worker) {
      for (int64_t step = 0; step < walk.steps; ++step) {
        if (feed) project_step(part, step, worker);
        attend(attention, part, step);
        this->step(part, step);
        if (p.input_feeding) readouts.step(part, step, p.residual ? static_cast<const T *>(p.sums) : this->hidden(p.num_layers - 1));
        if (feed) next_symbols(*feed, part, step, worker);
      }
    });
  }

  void project(RowRange rows, int worker, int32_t first_layer) {
    for (int32_t l = first_layer; l < p.num_layers; ++l)
      cells[l].project(rows, worker, saved[l].gates, [&](int64_t at) {
        return l ? nullptr : static_cast<const T *>(p.embedded) + walk.position[at] * p.embedding_size;
      });
  }

  void project_step(int64_t part, int64_t step, int worker) {
    for (int64_t q = 0, alive = walk.alive(part, step); q < alive; q += kStepRows)
      project({walk.row(part, step, q), walk.parts, alive - q < kStepRows ? alive - q : kStepRows}, worker, 0);
  }

  void next_symbols(const peephole::SymbolFeed &feed, int64_t part, int64_t step, int worker) {
    const int64_t going_on = walk.alive(part, step + 1);
    int64_t *positions = walk.of_part(fed, part);
    for (int64_t q = 0; q < going_on; ++q) positions[q] = walk.position[walk.row(part, step, q)];
    if (going_on) feed.write(feed.context, positions, going_on, worker);
  }

  // Computes the contexts of a step, for the caller and for the lowest layer's inner input.
  template <class Attention>
  void attend(const Attention &attention, int64_t part, int64_t step) {
    attention.begin(part, step);
    for (int64_t q = 0; q < walk.alive(part, step); ++q) {
      const int64_t at = walk.row(part, step, q), b = this->sequence(part, q);
      T *context = static_cast<T *>(p.contexts) + walk.position[at] * M;
      attention.weigh(at, b);
      if (const T *alpha = attention.alpha(at)) keep_weights(alpha, at, b);
      for (int64_t unit = 0; unit < M; unit += L) {
        Vector<T> c = attention.context(at, b, unit);
        store(context + unit, c, M - unit);
        store_operand(this->joint(0, at) + unit, c);
      }
      if (p.input_feeding) readouts.read(part, step, at, this->joint(0, at), this->lowest_units);
    }
  }

  // Writes the weights of a row for the caller, if they are wanted.
  void keep_weights(const T *weights, int64_t at, int64_t b) {
    if (!p.weights) return;
    T *to = static_cast<T *>(p.weights) + walk.position[at] * this->S;
    std::memcpy(to, weights, size_t(p.source_lengths[b]) * sizeof(T));
    std::memset(to + p.source_lengths[b], 0, size_t(this->S - p.source_lengths[b]) * sizeof(T));
  }

  void step(int64_t part, int64_t step) {
    const int64_t alive = walk.alive(part, step);
    for (int32_t l = 0; l < p.num_layers; ++l) {
      for (int64_t q = 0; l && q < alive; ++q) read_below(l, walk.row(part, step, q));
      cells[l].step(part, step);
    }
    for (int64_t q = 0; p.residual && q < alive; ++q) write_sums(walk.row(part, step, q));
    for (int64_t q = walk.alive(part, step + 1); q < alive; ++q) clear_rest(this->sequence(part, q));
  }

  void read_below(int32_t layer, int64_t at) {
    for (int64_t unit = 0; unit < H; unit += L) {
      Vector<T> below = p.residual ? sum(layer, at, unit) : load_unit<T>(this->hidden(layer - 1), walk.position[at], unit, H);
      store_operand(this->joint(layer, at) + unit, below * this->mask(layer, at, unit));
    }
  }

  // The sum of h_t of the layers below `layer`, (41).
  Vector<T> sum(int32_t layer, int64_t at, int64_t unit) const {
    Vector<T> total = load_unit<T>(this->hidden(0), walk.position[at], unit, H);
    for (int32_t l = 1; l < layer; ++l) total += load_unit<T>(this->hidden(l), walk.position[at], unit, H);
    return total;
  }

  void write_sums(int64_t at) {
    T *to = static_cast<T *>(p.sums) + walk.position[at] * H;
    for (int64_t unit = 0; unit < H; unit += L) store(to + unit, sum(p.num_layers, at, unit), H - unit);
  }

  // Writes 0 past a target's length.
  void clear_rest(int64_t b) {
    const int64_t first = b * p.steps + p.lengths[b], rows = p.steps - p.lengths[b];
    std::memset(static_cast<T *>(p.contexts) + first * M, 0, size_t(rows * M) * sizeof(T));
    if (p.weights) std::memset(static_cast<T *>(p.weights) + first * this->S, 0, size_t(rows * this->S) * sizeof(T));
    for (int32_t l = 0; l < p.num_layers; ++l) std::memset(this->hidden(l) + first * H, 0, size_t(rows * H) * sizeof(T));
    if (p.residual) std::memset(static_cast<T *>(p.sums) + first * H, 0, size_t(rows * H) * sizeof(T));
  }
};

template <class T, class O, class Cell>
struct DecoderBackward : DecoderRows<T, O> {
  using Rows = DecoderRows<T, O>;
  using Rows::p, Rows::walk, Rows::saved, Rows::H, Rows::M, Rows::scratch, Rows::units;
  const peephole_decoder_gradients &d;
  std::vector<CellGradients> gradients;
  std::vector<typename Cell::template Backward<T, O>> cells;
  WorkerMemory<T, O> memory;
  const T *from_attention = nullptr;  // (B, Hp): gradient of s_{t-1} from attention, by rank; NULL: no attention
  T *from_above;                      // (B, Hp): gradient of a layer's h_t from the layers above, by rank
  T *contexts;                        // (B, Mp): gradient of the context, by rank
  const InputSums<T, O> sums;         // of the lowest layer
  const ReadoutBackward<T, O> readouts;

  DecoderBackward(const peephole_decoder &problem, const peephole_decoder_gradients &given, const peephole::DistinctInputs *inputs)
      : Rows(problem), d(given), memory(most_columns(problem), problem.threads, scratch),
        sums(inputs, problem.batch * problem.steps, problem.hidden_size, scratch), readouts(p, d, walk, scratch) {
    for (int32_t l = 0; l < p.num_layers; ++l) {
      const auto &to = d.layers[l];
      gradients.push_back({to.weight_input, to.weight_hidden, to.bias, to.weight_peephole, to.h0, to.c0, to.bias_hidden, to.gain, to.cell_gain,
                           to.cell_bias});
    }
    for (int32_t l = 0; l < p.num_layers; ++l)
      cells.emplace_back(this->shapes[l], gradients[l], walk, saved[l], p.threads, scratch);
    from_above = scratch.template take<T>(p.batch * padded<T>(H));
    contexts = scratch.template take<T>(p.batch * padded<T>(M));
  }

  static int64_t most_columns(const peephole_decoder &p) {
    const int64_t lowest = p.memory_size + fed_size(p), inner = lowest > p.hidden_size ? lowest : p.hidden_size;
    return most_tiled<O>(p.embedding_size) + most_tiled<O>(inner) + most_tiled<O>(p.hidden_size);
  }

  template <class Attention>
  void run(const Attention &attention) {
    walk.find(p.lengths, false);
    if (!sums) clear_rest();
    attention.clear();
    from_attention = attention.state_gradient();
    const int64_t blocks = cells[0].blocks(), cell_tasks = p.num_layers * blocks, tasks = cell_tasks + attention.blocks();
    for_tasks(p.threads, tasks + readouts.blocks(), [&](int64_t task, int) {
      if (task < cell_tasks) return cells[task / blocks].pack(task % blocks);
      task < tasks ? attention.pack(task - cell_tasks) : readouts.pack(task - tasks);
    });
    for_tasks(p.threads, walk.parts, [&](int64_t part, int) {
      for (int64_t step = walk.steps - 1; step >= 0; --step) {
        if (p.input_feeding) readouts.step(part, step);
        for (int32_t l = p.num_layers - 1; l >= 0; --l) layer_step(l, part, step);
        attention.step(part, step, contexts);
      }
      first_states(part);
    });
    OuterRows<O> outer = cells[0].rows();  // of the lowest layer: the others have no outer part of x
    if (sums) outer = sums.add(outer, cells[0].row_width(), walk, p.threads);
    for_tasks(p.threads, outer.chunks() + cells[0].chunks(), [&](int64_t task, int worker) {
      if (task < outer.chunks()) return outer_gradient(outer, task, worker);
      const int64_t chunk = task - outer.chunks();
      for (auto &cell : cells) cell.pack_saved(chunk);
      attention.chunk(chunk);
    });
    for_tasks(p.threads, cell_tasks + attention.blocks(), [&](int64_t task, int worker) {
      const int64_t layer = task / blocks;
      if (task < cell_tasks) return cells[layer].weights(layer ? cells[layer].rows() : outer, task % blocks, memory.of(worker));
      attention.weights(task - cell_tasks, cells.back().hidden_tiles(), memory.of(worker));
    });
    attention.finish();
  }

  // Clears the gradients past a target's length.
  void clear_rest() {
    for (int64_t b = 0; b < p.batch; ++b)
      std::memset(static_cast<T *>(d.embedded) + (b * p.steps + p.lengths[b]) * p.embedding_size, 0,
                  size_t((p.steps - p.lengths[b]) * p.embedding_size) * sizeof(T));
  }

  void outer_gradient(const OuterRows<O> &outer, int64_t chunk, int worker) {
    const int64_t E = p.embedding_size;
    auto x = [&](int64_t row) { return sums ? sums.x(row, E) : static_cast<const T *>(p.embedded) + walk.position[row] * E; };
    auto to = [&](int64_t row) { return sums ? sums.gradient(row, E) : static_cast<T *>(d.embedded) + walk.position[row] * E; };
    cells[0].outer_gradient(outer, chunk, worker, x, to);
  }

  void first_states(int64_t part) {
    for (int32_t l = 0; l < p.num_layers; ++l)
      cells[l].first_state(part, [&](int64_t q, int64_t unit) {
        const bool attends = from_attention && l == p.num_layers - 1;
        return attends ? load(from_attention + walk.rank(part, q) * units + unit) : Vector<T>{};
      });
  }

  // Of the output of the stack, by way of all but the next step.
  Vector<T> states_gradient(int64_t at, int64_t rank, int64_t unit) const {
    if (unit >= H) return Vector<T>{};
    const Vector<T> dh = load_unit<T>(d.states, walk.position[at], unit, H);
    return p.input_feeding ? dh + readouts.state(rank, unit) : dh;
  }

  void layer_step(int32_t layer, int64_t part, int64_t step) {
    const int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
    const bool top = layer == p.num_layers - 1;
    for (int64_t q = going_on; q < alive; ++q) cells[layer].begin(part, step, q, nullptr);
    cells[layer].step(part, step, [&](int64_t q, int64_t unit) {
      const int64_t rank = walk.rank(part, q);
      if (!top) return load(from_above + rank * units + unit);
      Vector<T> dh = states_gradient(walk.row(part, step, q), rank, unit);
      if (from_attention && q < going_on) dh += load(from_attention + rank * units + unit);
      return dh;
    });
    cells[layer].inner_gradient(part, step, [&](int64_t q, int64_t unit, Vector<T> sum) {
      int64_t at = walk.row(part, step, q), rank = walk.rank(part, q);
      if (layer) {
        T *to = from_above + rank * units + unit;
        Vector<T> dh = sum * this->mask(layer, at, unit);
        if (p.residual) dh += top ? states_gradient(at, rank, unit) : load(to);  // its output is read through all layers above
        store(to, dh);
      } else if (p.input_feeding)
        store(readouts.inner_of(rank) + unit, sum);
      else
        store(contexts + rank * this->memory_units + unit, sum + load_unit<T>(d.contexts, walk.position[at], unit, M));
    });
    for (int64_t q = 0; p.input_feeding && layer == 0 && q < alive; ++q) fed_contexts(walk.row(part, step, q), walk.rank(part, q));
  }

  // With input feeding: the gradient of a row's context, from those of all that reads it.
  void fed_contexts(int64_t at, int64_t rank) {
    for (int64_t unit = 0; unit < M; unit += kLanes<T>)
      store(contexts + rank * this->memory_units + unit, load(readouts.inner_of(rank) + unit, M - unit) +
                                                             load_unit<T>(d.contexts, walk.position[at], unit, M) + readouts.context(rank, unit));
  }
};

// Calls body(pass, attention) with a forward pass and its kind of attention.
template <class T, class O, class Body>
auto with_decoder_forward(const peephole_decoder &problem, const peephole::DistinctInputs *inputs, Body body) {
  return with_cell(problem.cell, [&](auto cell) {
    DecoderForward<T, O, decltype(cell)> pass(problem, inputs);
    return with_attention(problem.attention, [&](auto kind) {
      const typename decltype(kind)::template Forward<DecoderRows<T, O>> attention(pass);
      return body(pass, attention);
    });
  });
}

// The same with a backward pass.
template <class T, class O, class Body>
auto with_decoder_backward(const peephole_decoder &problem, const peephole_decoder_gradients &gradients,
                           const peephole::DistinctInputs *inputs, Body body) {
  return with_cell(problem.cell, [&](auto cell) {
    DecoderBackward<T, O, decltype(cell)> pass(problem, gradients, inputs);
    return with_attention(problem.attention, [&](auto kind) {
      const typename decltype(kind)::template Backward<DecoderRows<T, O>> attention(pass, gradients);
      return body(pass, attention);
    });
  });
}

}  // namespace
