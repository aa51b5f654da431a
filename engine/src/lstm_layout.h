// Where the numbers of one LSTM call stand in memory, and in which order its steps are walked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "peephole.h"

namespace {

constexpr int64_t kGates = 4;         // i, f, g, o
constexpr int64_t kDepthBlock = 256;  // rows of a product over all steps that are packed at a time
constexpr int64_t kStepRows = 96;     // rows of x in one task

// Memory is measured for unit counts padded to 64 bytes, the widest vector, whatever the instruction set. Hp below is
// the number of units padded to the vector in use, at most that.
template <class T>
constexpr int64_t padded(int64_t n) {
  return (n + 64 / int64_t(sizeof(T)) - 1) / (64 / int64_t(sizeof(T))) * (64 / int64_t(sizeof(T)));
}

// Cuts a caller's memory into arrays that begin on 64 bytes; without memory it only counts.
class Arena {
 public:
  explicit Arena(void *memory) : base_(static_cast<char *>(memory)) {}
  template <class T>
  T *take(int64_t count) {
    size_t at = used_;
    used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
    return base_ ? reinterpret_cast<T *>(base_ + at) : nullptr;
  }
  size_t used() const { return used_; }

 private:
  char *base_;
  size_t used_ = 0;
};

// Sequences in order of falling length, ranks 0 … B-1: at step s (from 0, in the order of reading) the ranks below
// active[s] are alive. Rows of all real steps are numbered step by step: row offset[s] + rank.
struct Walk {
  int64_t steps = 0;  // longest length
  int64_t rows = 0;   // real steps of all sequences
  int64_t *order, *active, *offset, *place, *previous;

  Walk(const peephole_lstm &p, Arena &arena) {
    order = arena.take<int64_t>(p.batch);           // rank -> b
    active = arena.take<int64_t>(p.steps + 2);      // step -> sequences alive; 0 after the last
    offset = arena.take<int64_t>(p.steps + 1);      // step -> its first row
    place = arena.take<int64_t>(p.batch * p.steps);     // row -> b * T + t
    previous = arena.take<int64_t>(p.batch * p.steps);  // row -> row of the step before; rank - B at the first step
  }

  void find(const peephole_lstm &p) {
    for (int64_t s = 0; s < p.steps + 2; ++s) active[s] = 0;
    for (int64_t b = 0; b < p.batch; ++b) {
      if (p.lengths[b] > steps) steps = p.lengths[b];
      for (int64_t s = 0; s < p.lengths[b]; ++s) ++active[s];
    }
    // active[L] sequences are longer than L: those of length L come after them, in the order of the batch. offset
    // serves as the next free rank of each length.
    for (int64_t s = 0; s < steps; ++s) offset[s] = active[s + 1];
    for (int64_t b = 0; b < p.batch; ++b) order[offset[p.lengths[b] - 1]++] = b;
    for (int64_t s = 0; s < steps; ++s) {
      offset[s] = rows;
      for (int64_t rank = 0; rank < active[s]; ++rank, ++rows) {
        int64_t b = order[rank];
        place[rows] = b * p.steps + (p.reverse ? p.lengths[b] - 1 - s : s);
        previous[rows] = s ? offset[s - 1] + rank : rank - p.batch;
      }
    }
  }
};

// What forward keeps for backward.
template <class T>
struct Saved {
  T *gates;  // (rows, Hp/L, 4, L): i, f, g, o of the same L units side by side, L the lanes of a vector
  T *cells;  // (rows, Hp): c

  Saved(const peephole_lstm &p, Arena arena)
      : gates(arena.take<T>(p.batch * p.steps * kGates * padded<T>(p.hidden_size))),
        cells(arena.take<T>(p.batch * p.steps * padded<T>(p.hidden_size))) {}

  static size_t bytes(const peephole_lstm &p) {
    return size_t(p.batch * p.steps * (kGates + 1) * padded<T>(p.hidden_size)) * sizeof(T);
  }
};

template <class T>
struct ForwardScratch {
  Arena arena;
  Walk walk;
  T *weight_input, *weight_hidden, *bias, *weight_peephole;  // packed by pack_gates
  T *first_cells;                                            // (B, Hp): c0, by rank
  T *looks;                                                  // (B, Hp/L, 2, L): W_ci c, W_cf c, by rank
  const T **pointers;                                        // 2 for each rank

  ForwardScratch(const peephole_lstm &p, void *memory) : arena(memory), walk(p, arena) {
    int64_t units = padded<T>(p.hidden_size);
    weight_input = arena.take<T>(p.input_size * kGates * units);
    weight_hidden = arena.take<T>(p.hidden_size * kGates * units);
    bias = arena.take<T>(kGates * units);
    weight_peephole = arena.take<T>(p.form == PEEPHOLE_FULL ? p.hidden_size * 3 * units : 3 * units);
    first_cells = arena.take<T>(p.batch * units);
    looks = arena.take<T>(p.batch * 2 * units);
    pointers = arena.take<const T *>(p.batch * 2);
  }
};

template <class T>
struct BackwardScratch {
  Arena arena;
  Walk walk;
  T *weight_input, *weight_hidden, *weight_peephole;  // packed by pack_rows
  T *first_cells;                                     // (B, Hp): c0, by rank
  T *gates;                                           // (rows, Hp/L, 4, L): gradient of the pre-activations
  T *cells;                                           // (B, Hp): gradient of c, by rank
  T *looks;                                           // (2, B, 3, Hp): gradients of W_co c, W_ci c, W_cf c, by rank
  const T **pointers;                                 // 2 for each rank
  T *left, *right, *line;                             // for each thread: factors packed, and one row
  int64_t gradient_rows;                              // rows of the weights' gradients in one task
  int64_t widest;                                     // the larger of padded I and H

  BackwardScratch(const peephole_lstm &p, void *memory) : arena(memory), walk(p, arena) {
    int64_t units = padded<T>(p.hidden_size);
    weight_input = arena.take<T>(kGates * units * padded<T>(p.input_size));
    weight_hidden = arena.take<T>(kGates * units * units);
    weight_peephole = arena.take<T>(p.form == PEEPHOLE_FULL ? 3 * units * units : 3 * units);
    first_cells = arena.take<T>(p.batch * units);
    gates = arena.take<T>(p.batch * p.steps * kGates * units);
    cells = arena.take<T>(p.batch * units);
    looks = arena.take<T>(p.form == PEEPHOLE_FULL ? 2 * p.batch * 3 * units : 0);
    pointers = arena.take<const T *>(p.batch * 2);
    // Each task packs all of the right factors: few tasks, but enough that threads end at about the same time.
    constexpr int64_t kTasks = 4, kMultiple = 48;  // of every kTileRows
    gradient_rows = (kGates * p.hidden_size / (kTasks * p.threads) + kMultiple) / kMultiple * kMultiple;
    widest = padded<T>(p.hidden_size > p.input_size ? p.hidden_size : p.input_size);
    left = arena.take<T>(p.threads * kDepthBlock * gradient_rows);
    right = arena.take<T>(p.threads * kDepthBlock * widest);
    line = arena.take<T>(p.threads * gradient_rows);
  }
};

}  // namespace
