// The decoder's recurrence over all target steps, (10), (13), (15)-(17), and its gradients.
#pragma once

#include <vector>

#include "cell/attention.h"
#include "train/cell_backward.h"
#include "train/cell_forward.h"
#include "runtime/workers.h"

namespace {

inline std::vector<CellShape> shapes_of(const peephole_decoder &p) {
  std::vector<CellShape> shapes;
  for (int32_t l = 0; l < p.num_layers; ++l) {
    const peephole_decoder_layer &layer = p.layers[l];
    shapes.push_back({p.form, p.hidden_size, l ? 0 : p.embedding_size, l ? p.hidden_size : p.memory_size,
                      layer.weight_input, layer.weight_hidden, layer.bias, layer.weight_peephole, layer.h0, layer.c0});
  }
  return shapes;
}

// Arrays that forward writes and backward reads.
template <class T, class O>
struct DecoderSaved {
  std::vector<CellSaved<T, O>> layers;
  T *weights;  // (rows, T): α_j of each step
  T *queries;  // (rows, Ap): W_s s_{t-1}, additive attention only

  DecoderSaved(const peephole_decoder &p, const std::vector<CellShape> &shapes, Arena &arena) {
    for (const CellShape &shape : shapes) layers.emplace_back(shape, p.batch, p.steps, arena);
    int64_t rows = p.batch * p.steps;
    weights = arena.take<T>(p.attention == PEEPHOLE_FIXED_CONTEXT ? 0 : rows * p.source_steps);
    queries = arena.take<T>(p.attention == PEEPHOLE_ADDITIVE ? rows * padded<T>(p.key_size) : 0);
  }
};

// The arrays of a problem by row, for forward and backward.
template <class T, class O>
struct DecoderRows {
  const peephole_decoder &p;
  Arena scratch{p.scratch}, kept{p.saved};
  std::vector<CellShape> shapes = shapes_of(p);
  Walk walk{p.batch, p.steps, p.threads, scratch};
  DecoderSaved<T, O> saved{p, shapes, kept};
  const int64_t H = p.hidden_size, M = p.memory_size, A = p.key_size, S = p.source_steps;
  const int64_t units = in_lanes<T>(H), memory_units = in_lanes<T>(M), key_units = in_lanes<T>(A);
  const bool additive = p.attention == PEEPHOLE_ADDITIVE, attends = p.attention != PEEPHOLE_FIXED_CONTEXT;

  explicit DecoderRows(const peephole_decoder &problem) : p(problem) {}

  int64_t sequence(int64_t part, int64_t q) const { return walk.order[walk.rank(part, q)]; }
  Source<T> source(int64_t b) const {
    const auto *keys = static_cast<const T *>(p.keys), *memory = static_cast<const T *>(p.memory);
    const auto *vector = additive ? static_cast<const T *>(p.vector) : nullptr;
    return {keys + b * S * A, memory + b * S * M, vector, p.source_lengths[b], A, M};
  }
  T *hidden(int64_t layer) const { return static_cast<T *>(p.layers[layer].hidden); }
  // s_{t-1} of a row: the top layer's.
  const T *state_before(int64_t at) const {
    int64_t before = walk.previous[at], top = p.num_layers - 1;
    if (before < p.batch) return static_cast<const T *>(p.layers[top].h0) + walk.order[before] * H;
    return hidden(top) + walk.position[before - p.batch] * H;
  }
  // The query of a row: A numbers.
  const T *query(int64_t at) const { return additive ? saved.queries + at * key_units : state_before(at); }
  O *joint(int64_t layer, int64_t at) const {
    return saved.layers[layer].joints + at * ((layer ? units : memory_units) + units);
  }
  // L factors of the input of a layer above the lowest from the layer below.
  Vector<T> mask(int64_t layer, int64_t at, int64_t unit) const {
    const void *array = p.layers[layer].mask;
    return array ? load_unit<T>(array, walk.position[at], unit, H) : splat<T>(1);
  }
};

template <class T, class O>
struct DecoderForward : DecoderRows<T, O> {
  using Rows = DecoderRows<T, O>;
  using Rows::p, Rows::walk, Rows::saved, Rows::H, Rows::M, Rows::A, Rows::S, Rows::scratch;
  static constexpr int L = kLanes<T>;
  std::vector<CellForward<T, O>> cells;
  O *query_panels;     // W_s, packed by pack_gates
  const O **pointers;  // one for each rank

  explicit DecoderForward(const peephole_decoder &problem) : Rows(problem) {
    for (int32_t l = 0; l < p.num_layers; ++l)
      cells.emplace_back(this->shapes[l], walk, saved.layers[l], p.layers[l].hidden, p.threads, scratch);
    query_panels = scratch.template take<O>(this->additive ? padded<T>(H) * padded<T>(A) : 0);
    pointers = scratch.template take<const O *>(p.batch);
  }

  void run() {
    walk.find(p.lengths, false);
    const int64_t blocks = cells[0].blocks(), key_blocks = this->additive ? this->key_units / L : 0;
    for_tasks(p.threads, p.num_layers * blocks + key_blocks, [&](int64_t task, int) {
      if (task < p.num_layers * blocks) return cells[task / blocks].pack(task % blocks);
      int64_t unit = (task - p.num_layers * blocks) * L;
      pack_gates(query_panels + unit * this->units, static_cast<const T *>(p.weight_query), H, H, this->units, {0}, unit,
                 A);
    });
    for_tasks(p.threads, cells[0].chunks(), [this](int64_t chunk, int worker) {
      for (int32_t l = 0; l < p.num_layers; ++l)
        cells[l].project(chunk, worker, [&](int64_t at) {
          return l ? nullptr : static_cast<const T *>(p.embedded) + walk.position[at] * p.embedding_size;
        });
    });
    for_tasks(p.threads, walk.parts, [this](int64_t part, int) {
      for (int64_t step = 0; step < walk.steps; ++step) this->step(part, step);
    });
  }

  void step(int64_t part, int64_t step) {
    const int64_t alive = walk.alive(part, step);
    if (this->additive) compute_queries(part, step, alive);
    for (int64_t q = 0; q < alive; ++q) attend(walk.row(part, step, q), this->sequence(part, q));
    for (int32_t l = 0; l < p.num_layers; ++l) {
      for (int64_t q = 0; l && q < alive; ++q) read_below(l, walk.row(part, step, q));
      cells[l].step(part, step);
    }
    for (int64_t q = walk.alive(part, step + 1); q < alive; ++q) clear_rest(this->sequence(part, q));
  }

  // W_s s_{t-1}, of (15).
  void compute_queries(int64_t part, int64_t step, int64_t alive) {
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) {
      O *joint = this->joint(p.num_layers - 1, walk.row(part, step, q));
      left[q] = joint + (p.num_layers > 1 ? this->units : this->memory_units);
    }
    for (int64_t unit = 0; unit < this->key_units; unit += L)
      for_tiles(alive, [&](int64_t q, int64_t n) {
        tile_of<O>(n, 1)(this->units, left + q, query_panels + unit * this->units, nullptr, 0,
                         saved.queries + walk.row(part, step, q) * this->key_units + unit, walk.parts * this->key_units);
      });
  }

  // Computes the context of a row, for the caller and for the lowest layer's inner input.
  void attend(int64_t at, int64_t b) {
    T *weights = saved.weights + at * S, *context = static_cast<T *>(p.contexts) + walk.position[at] * M;
    Source<T> source = this->source(b);
    if (this->attends) source.weigh(this->query(at), weights);
    for (int64_t unit = 0; unit < M; unit += L) {
      Vector<T> c = this->attends ? source.context(weights, unit) : load_unit<T>(p.memory, b, unit, M);
      store(context + unit, c, M - unit);
      store_operand(this->joint(0, at) + unit, c);
    }
  }

  void read_below(int32_t layer, int64_t at) {
    for (int64_t unit = 0; unit < H; unit += L) {
      Vector<T> below = load_unit<T>(this->hidden(layer - 1), walk.position[at], unit, H);
      store_operand(this->joint(layer, at) + unit, below * this->mask(layer, at, unit));
    }
  }

  // Writes 0 past a target's length.
  void clear_rest(int64_t b) {
    const int64_t first = b * p.steps + p.lengths[b], rows = p.steps - p.lengths[b];
    std::memset(static_cast<T *>(p.contexts) + first * M, 0, size_t(rows * M) * sizeof(T));
    for (int32_t l = 0; l < p.num_layers; ++l) std::memset(this->hidden(l) + first * H, 0, size_t(rows * H) * sizeof(T));
  }
};

template <class T, class O>
struct DecoderBackward : DecoderRows<T, O> {
  using Rows = DecoderRows<T, O>;
  using Rows::p, Rows::walk, Rows::saved, Rows::H, Rows::M, Rows::A, Rows::S, Rows::scratch, Rows::units;
  static constexpr int L = kLanes<T>;
  const peephole_decoder_gradients &d;
  std::vector<CellGradients> gradients;
  std::vector<CellBackward<T, O>> cells;
  WorkerMemory<T, O> memory;
  O *query_panels;   // W_s, packed by pack_rows
  O *query_rows;     // (rows, Ap): gradients of W_s s_{t-1}
  T *from_query;     // (B, Ap): gradient of the query, by rank
  T *from_attention; // (B, Hp): gradient of s_{t-1} from attention, by rank; from_query where s is the query
  T *from_above;     // (B, Hp): gradient of a layer's h_t from the layer above, by rank
  T *contexts;       // (B, Mp): gradient of the context, by rank
  T *energies;       // (B, T): by rank
  T *vectors;        // (B, Ap): gradient of v, by sequence
  const O **pointers;

  DecoderBackward(const peephole_decoder &problem, const peephole_decoder_gradients &given)
      : Rows(problem), d(given), memory(most_columns(problem), problem.threads, scratch) {
    for (int32_t l = 0; l < p.num_layers; ++l) {
      const auto &to = d.layers[l];
      gradients.push_back({to.weight_input, to.weight_hidden, to.bias, to.weight_peephole, to.h0, to.c0});
    }
    for (int32_t l = 0; l < p.num_layers; ++l)
      cells.emplace_back(this->shapes[l], gradients[l], walk, saved.layers[l], p.threads, scratch);
    const int64_t B = p.batch, keys = padded<T>(A), hidden = padded<T>(H);
    query_panels = scratch.template take<O>(this->additive ? keys * hidden : 0);
    query_rows = scratch.template take<O>(this->additive ? B * p.steps * keys : 0);
    from_query = scratch.template take<T>(B * keys);
    from_attention = this->additive ? scratch.template take<T>(B * hidden) : from_query;
    from_above = scratch.template take<T>(B * hidden);
    contexts = scratch.template take<T>(B * padded<T>(M));
    energies = scratch.template take<T>(B * S);
    vectors = scratch.template take<T>(this->additive ? B * keys : 0);
    pointers = scratch.template take<const O *>(B);
  }

  static int64_t most_columns(const peephole_decoder &p) {
    int64_t inner = p.memory_size > p.hidden_size ? p.memory_size : p.hidden_size;
    return most_tiled(p.embedding_size) + most_tiled(inner) + most_tiled(p.hidden_size);
  }

  void run() {
    walk.find(p.lengths, false);
    clear();
    const int64_t blocks = cells[0].blocks(), key_blocks = this->additive ? this->key_units / L : 0;
    const int64_t cell_tasks = p.num_layers * blocks;
    for_tasks(p.threads, cell_tasks + key_blocks, [&](int64_t task, int) {
      if (task < cell_tasks) return cells[task / blocks].pack(task % blocks);
      int64_t first = (task - cell_tasks) * L;
      pack_rows(query_panels, H, this->key_units, first, first + L, [this](int64_t k) {
        return k < A ? static_cast<const T *>(p.weight_query) + k * H : nullptr;
      });
    });
    for_tasks(p.threads, walk.parts, [this](int64_t part, int) { walk_steps(part); });
    for_tasks(p.threads, cells[0].chunks(), [this](int64_t chunk, int worker) {
      for (int32_t l = 0; l < p.num_layers; ++l) {
        auto row = [&](const void *array) {
          return [=](int64_t at) -> T * {
            return l ? nullptr : static_cast<T *>(const_cast<void *>(array)) + walk.position[at] * p.embedding_size;
          };
        };
        cells[l].outer_gradient(chunk, worker, row(p.embedded), row(d.embedded));
      }
    });
    for_tasks(p.threads, cell_tasks + key_blocks, [&](int64_t task, int worker) {
      if (task < cell_tasks) return cells[task / blocks].weights(task % blocks, memory.of(worker));
      int64_t unit = (task - cell_tasks) * L;
      const Factor<T, O> left[] = {{cells.back().hidden_tiles(), H, static_cast<T *>(d.weight_query), H}};
      weight_gradient<T, O, 1>(query_rows + unit, this->key_units, walk.rows, left, 1, nullptr, {0}, unit, A,
                               memory.of(worker));
    });
    if (this->additive) add_vectors();
  }

  // Clears the gradients that are sums, and those past a target's length.
  void clear() {
    const int64_t B = p.batch, rows = this->attends ? S : 1;
    std::memset(d.memory, 0, size_t(B * rows * M) * sizeof(T));
    if (this->attends) std::memset(d.keys, 0, size_t(B * S * A) * sizeof(T));
    if (this->additive) std::memset(vectors, 0, size_t(B * this->key_units) * sizeof(T));
    for (int64_t b = 0; b < B; ++b)
      std::memset(static_cast<T *>(d.embedded) + (b * p.steps + p.lengths[b]) * p.embedding_size, 0,
                  size_t((p.steps - p.lengths[b]) * p.embedding_size) * sizeof(T));
  }

  void walk_steps(int64_t part) {
    const int32_t top = p.num_layers - 1;
    for (int64_t step = walk.steps - 1; step >= 0; --step) {
      for (int32_t l = top; l >= 0; --l) layer_step(l, part, step);
      attention_step(part, step);
    }
    for (int32_t l = 0; l <= top; ++l)
      cells[l].first_state(part, [&](int64_t q, int64_t unit) {
        return l == top && this->attends ? load(from_attention + walk.rank(part, q) * units + unit) : Vector<T>{};
      });
  }

  void layer_step(int32_t layer, int64_t part, int64_t step) {
    const int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
    const bool top = layer == p.num_layers - 1;
    for (int64_t q = going_on; q < alive; ++q) cells[layer].begin(part, step, q, nullptr);
    cells[layer].step(part, step, [&](int64_t q, int64_t unit) {
      if (!top) return load(from_above + walk.rank(part, q) * units + unit);
      Vector<T> dh{};
      if (unit < H) dh = load_unit<T>(d.states, walk.position[walk.row(part, step, q)], unit, H);
      if (this->attends && q < going_on) dh += load(from_attention + walk.rank(part, q) * units + unit);
      return dh;
    });
    cells[layer].inner_gradient(part, step, [&](int64_t q, int64_t unit, Vector<T> sum) {
      int64_t at = walk.row(part, step, q), rank = walk.rank(part, q);
      if (layer)
        store(from_above + rank * units + unit, sum * this->mask(layer, at, unit));
      else
        store(contexts + rank * this->memory_units + unit, sum + load_unit<T>(d.contexts, walk.position[at], unit, M));
    });
  }

  // Gradients from the context to the source and to s_{t-1}.
  void attention_step(int64_t part, int64_t step) {
    const int64_t alive = walk.alive(part, step);
    for (int64_t q = 0; q < alive; ++q) {
      const int64_t at = walk.row(part, step, q), rank = walk.rank(part, q), b = walk.order[rank];
      const T *d_context = contexts + rank * this->memory_units;
      if (!this->attends) {
        T *to = static_cast<T *>(d.memory) + b * M;
        for (int64_t m = 0; m < M; ++m) to[m] += d_context[m];
        continue;
      }
      T *keys = static_cast<T *>(d.keys) + b * S * A, *sources = static_cast<T *>(d.memory) + b * S * M;
      T *d_query = from_query + rank * this->key_units;
      SourceGradients<T> to{keys, sources, vectors + b * this->key_units};
      to.add(this->source(b), this->query(at), saved.weights + at * S, d_context, energies + rank * S, d_query);
      if (this->additive) copy_operands(query_rows + at * this->key_units, d_query, A, this->key_units);
    }
    if (this->additive) through_query(part, step, alive);
  }

  // The gradient of s_{t-1} from that of W_s s_{t-1}.
  void through_query(int64_t part, int64_t step, int64_t alive) {
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) left[q] = query_rows + walk.row(part, step, q) * this->key_units;
    multiply_panels<O>(alive, left, this->key_units, query_panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      store(from_attention + walk.rank(part, q) * units + unit, sum);
    });
  }

  void add_vectors() {
    for (int64_t a = 0; a < A; a += L) {
      Vector<T> sum{};
      for (int64_t b = 0; b < p.batch; ++b) sum += load(vectors + b * this->key_units + a);
      store(static_cast<T *>(d.vector) + a, sum, A - a);
    }
  }
};

}  // namespace
