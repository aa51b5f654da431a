// Input feeding, (62): the decoder computes r_t of each step, which the lowest layer reads in the next one; and its gradients.
#pragma once

#include "runtime/workers.h"
#include "simd/product.h"
#include "simd/ragged_batch.h"

namespace {

// The numbers of r_{t-1} in the lowest layer's input.
inline int64_t fed_size(const peephole_decoder &p) { return p.input_feeding ? p.hidden_size : 0; }

// r_t = tanh(W [s_t ; c_t ; E(y_{t-1})] + b).
template <class T, class O>
class ReadoutForward {
 public:
  ReadoutForward(const peephole_decoder &problem, const Walk &ragged, Arena &scratch) : p(problem), walk(ragged) {
    if (!p.input_feeding) return;
    panels = scratch.take<O>(padded<T>(R) * padded<T>(H));
    bias = scratch.take<T>(padded<T>(H));
    pointers = scratch.take<const O *>(walk.batch);
    inputs = scratch.take<O>(walk.batch * padded<T>(R));
    lines = scratch.take<T>(walk.parts * padded<T>(R));
  }

  int64_t blocks() const { return p.input_feeding ? (H + kPanel - 1) / kPanel : 0; }

  void pack(int64_t block) const {
    const Columns<T> panel{block * kPanel, H};
    const T *weight = static_cast<const T *>(p.readout_weight), *first = static_cast<const T *>(p.readout_bias);
    pack_columns(panels + panel.first * depth, panel.vectors(), R, depth, [=, this](int v, int lane) {
      return lane < panel.in(v) ? weight + (panel.first + v * L + lane) * R : nullptr;
    });
    for (int v = 0; v < panel.vectors(); ++v) store(bias + panel.first + v * L, load(first + panel.first + v * L, panel.in(v)));
  }

  // Writes [c_t ; r_{t-1}] of a row as operands, 0 up to `size`.
  void read(int64_t part, int64_t step, int64_t at, O *to, int64_t size) const {
    T *line = lines + part * padded<T>(R);
    const int64_t position = walk.position[at];
    std::memcpy(line, static_cast<const T *>(p.contexts) + position * M, size_t(M) * sizeof(T));
    if (step)
      std::memcpy(line + M, static_cast<const T *>(p.fed) + (position - 1) * H, size_t(H) * sizeof(T));
    else
      std::memset(line + M, 0, size_t(H) * sizeof(T));
    copy_operands(to, line, M + H, size);
  }

  // Computes r_t of a step. states: (B, U, H), the output of the stack.
  void step(int64_t part, int64_t step, const T *states) const {
    const int64_t alive = walk.alive(part, step), width = in_lanes<T>(R);
    const O **left = walk.of_part(pointers, part);
    T *line = lines + part * padded<T>(R);
    for (int64_t q = 0; q < alive; ++q) {
      const int64_t position = walk.position[walk.row(part, step, q)];
      std::memcpy(line, states + position * H, size_t(H) * sizeof(T));
      if (M) std::memcpy(line + H, static_cast<const T *>(p.contexts) + position * M, size_t(M) * sizeof(T));
      std::memcpy(line + H + M, static_cast<const T *>(p.embedded) + position * E, size_t(E) * sizeof(T));
      O *to = inputs + walk.rank(part, q) * padded<T>(R);
      copy_operands(to, line, R, width);
      left[q] = to;
    }
    multiply_panels<O>(alive, left, depth, panels, H, [&](int64_t q, int64_t unit, Vector<T> sum) {
      const int64_t at = walk.position[walk.row(part, step, q)] * H + unit;
      const Vector<T> r = tanh<T>(sum + load(bias + unit));
      store(static_cast<T *>(p.readouts) + at, r, H - unit);
      if (p.readout_mask) store(static_cast<T *>(p.fed) + at, r * load(static_cast<const T *>(p.readout_mask) + at, H - unit), H - unit);
    });
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr int64_t kPanel = kPanelVectors * L;
  const peephole_decoder &p;
  const Walk &walk;
  const int64_t H = p.hidden_size, M = p.memory_size, E = p.embedding_size, R = H + M + E, depth = in_groups<O>(R);
  O *panels;           // packed by pack_columns
  T *bias;             // (Hp)
  const O **pointers;  // one for each rank
  O *inputs;           // (B, Rp): of one step, by rank
  T *lines;            // (parts, Rp)
};

template <class T, class O>
class ReadoutBackward {
 public:
  ReadoutBackward(const peephole_decoder &problem, const peephole_decoder_gradients &given, const Walk &ragged, Arena &scratch)
      : p(problem), d(given), walk(ragged) {
    if (!p.input_feeding) return;
    panels = scratch.take<O>(padded<T>(H) * padded<T>(R));
    pointers = scratch.take<const O *>(walk.batch);
    gradients = scratch.take<O>(walk.batch * padded<T>(H));
    sums = scratch.take<T>(walk.batch * padded<T>(R));
    inner = scratch.take<T>(walk.batch * padded<T>(M + H));
  }

  int64_t blocks() const { return p.input_feeding ? (depth + kStepRows - 1) / kStepRows : 0; }

  void pack(int64_t block) const {
    const int64_t begin = block * kStepRows, end = begin + kStepRows < depth ? begin + kStepRows : depth;
    const T *weight = static_cast<const T *>(p.readout_weight);
    pack_rows(panels, R, depth, begin, end, [=, this](int64_t k) { return k < H ? weight + k * R : nullptr; });
  }

  // Adds the gradients of r_t from the output (the caller's) and from step t + 1. Writes that of its pre-activations to
  // d.readouts and that of E(y_{t-1}) to d.read_embedded; `state` and `context` return those of s_t and c_t.
  void step(int64_t part, int64_t step) const {
    const int64_t alive = walk.alive(part, step), going_on = walk.alive(part, step + 1);
    const O **left = walk.of_part(pointers, part);
    for (int64_t q = 0; q < alive; ++q) {
      const int64_t rank = walk.rank(part, q), first = walk.position[walk.row(part, step, q)] * H;
      O *to = gradients + rank * padded<T>(H);
      for (int64_t unit = 0; unit < H; unit += L) {
        T *own = static_cast<T *>(d.readouts) + first + unit;
        Vector<T> sum = load(own, H - unit);
        if (q < going_on) sum += load(inner_of(rank) + M + unit, H - unit);
        if (p.readout_mask) sum *= load(static_cast<const T *>(p.readout_mask) + first + unit, H - unit);
        const Vector<T> r = load(static_cast<const T *>(p.readouts) + first + unit, H - unit);
        sum *= fma(-r, r, splat<T>(1));
        store(own, sum, H - unit);
        store_operand(to + unit, sum);
      }
      left[q] = to;
    }
    multiply_panels<O>(alive, left, depth, panels, R, [&](int64_t q, int64_t column, Vector<T> sum) {
      store(sums + walk.rank(part, q) * padded<T>(R) + column, sum);
    });
    for (int64_t q = 0; q < alive; ++q)
      std::memcpy(static_cast<T *>(d.read_embedded) + walk.position[walk.row(part, step, q)] * E,
                  sums + walk.rank(part, q) * padded<T>(R) + H + M, size_t(E) * sizeof(T));
  }

  // L numbers of the gradients of s_t and c_t by way of r_t, after `step`.
  Vector<T> state(int64_t rank, int64_t unit) const { return load(sums + rank * padded<T>(R) + unit, H - unit); }
  Vector<T> context(int64_t rank, int64_t unit) const { return load(sums + rank * padded<T>(R) + H + unit, M - unit); }

  // (Xp): the gradient of [c_t ; r_{t-1}] by way of the lowest layer, which the caller writes after `step`.
  T *inner_of(int64_t rank) const { return inner + rank * padded<T>(M + H); }

 private:
  static constexpr int L = kLanes<T>;
  const peephole_decoder &p;
  const peephole_decoder_gradients &d;
  const Walk &walk;
  const int64_t H = p.hidden_size, M = p.memory_size, E = p.embedding_size, R = H + M + E, depth = in_groups<O>(H);
  O *panels;           // packed by pack_rows
  const O **pointers;  // one for each rank
  O *gradients;        // (B, Hp): of the pre-activations of one step, by rank
  T *sums;             // (B, Rp): of [s_t ; c_t ; E(y_{t-1})], by rank
  T *inner;            // (B, Xp)
};

}  // namespace
