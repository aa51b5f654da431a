// The sizes and the saved arrays of one recurrent layer in one direction, for an encoder layer and for the decoder.
#pragma once

#include "simd/operand.h"
#include "cell/lstm.h"
#include "cell/zoneout.h"
#include "peephole.h"
#include "simd/weight_gradient.h"

namespace {

// Sizes and weights of a layer. The input x_t has two parts: the outer part is known before the recurrence, and its
// products are computed for all steps at once; the inner part depends on the step before (nothing in an encoder; the
// context, or the output of the layer below, in a decoder). Each step multiplies [inner x_t ; h_{t-1}], its joint row.
struct CellShape {
  int32_t form;
  int64_t hidden_size, outer_size, inner_size;  // H, and the sizes of the two parts of x
  const void *weight_input;     // (4H, I), outer part first; of a GRU 3H, as the next two
  const void *weight_hidden;    // (4H, H)
  const void *bias;             // (4H)
  const void *weight_peephole;  // (3H, H), (3, H) or NULL
  const void *h0, *c0;          // (B, H); a GRU has no c0
  const void *bias_hidden;      // (3H) of a GRU
  int32_t zoneout;                // enum peephole_zoneout
  const void *taken_h, *taken_c;  // (B, S, H): the shares of h̃_t and c̃_t that a step takes, (43)
  bool gru, normalizes;           // layer normalisation, (44)-(46)
  const void *gain, *cell_gain, *cell_bias;  // (4H), of a GRU (3H); (H), not of a GRU
  int64_t input_size() const { return outer_size + inner_size; }
  bool full() const { return form == PEEPHOLE_FULL; }
  bool diagonal() const { return form == PEEPHOLE_DIAGONAL; }
  bool keeps_states() const { return zoneout & PEEPHOLE_ZONEOUT_OF_H; }
  bool keeps_cells() const { return zoneout & PEEPHOLE_ZONEOUT_OF_C; }
};

// The output arrays of a layer's gradients, in the shapes of CellShape's arrays.
struct CellGradients {
  void *weight_input, *weight_hidden, *bias, *weight_peephole, *h0, *c0, *bias_hidden, *gain, *cell_gain, *cell_bias;
};

// What layer normalisation keeps of each row: its normalised lines without gain and bias, and 1 / √(σ² + ε) of each.
template <class T>
struct NormalizedSaved {
  T *normal = nullptr;  // (rows, lines, Hp)
  T *scales = nullptr;  // (rows, lines)
  int64_t lines = 0, units = 0;

  T *line(int64_t at, int line) const { return normal + (at * lines + line) * units; }
  T &scale(int64_t at, int line) const { return scales[at * lines + line]; }
};

// Arrays that forward writes and backward reads. Units are padded: Hp, Xp (inner part). With zoneout of c, the c_t of each
// row are followed by its c̃_t, which h̃_t and the output gate's peephole read.
template <class T, class O>
struct CellSaved {
  T *gates;   // (rows, Hp/L, 4, L): i, f, g, o of the same L units side by side, L the lanes of a vector
  T *cells;   // (B + rows, Hp): c0 by rank, then c of each row; with zoneout of c (B + 2 rows, Hp): then c̃ of each row
  O *joints;  // (rows, Xp + Hp): [inner x_t ; h_{t-1}]
  NormalizedSaved<T> norm;
  O *cell_operands;  // `cells` as operands of the full peepholes; `cells` itself where O is T

  CellSaved(const CellShape &cell, int64_t batch, int64_t steps, Arena &arena) {
    int64_t units = padded<T>(cell.hidden_size), inner = padded<T>(cell.inner_size), rows = batch * steps;
    gates = arena.take<T>(rows * kGates * units);
    const int64_t num_cells = batch + (cell.keeps_cells() ? 2 : 1) * rows;
    cells = arena.take<T>(num_cells * units);
    joints = arena.take<O>(rows * (inner + units));
    norm.lines = cell.gru ? 3 : 5;
    norm.units = in_lanes<T>(cell.hidden_size);
    norm.normal = arena.take<T>(cell.normalizes ? rows * norm.lines * units : 0);
    norm.scales = arena.take<T>(cell.normalizes ? rows * norm.lines : 0);
    if constexpr (std::is_same_v<O, T>)
      cell_operands = cells;
    else
      cell_operands = arena.take<O>(cell.full() ? num_cells * units : 0);
  }
};

// Rows first, first + step, ..., at most kStepRows.
struct RowRange {
  int64_t first, step, count;
};

// The rows of one task over all steps.
inline RowRange chunk_of(const Walk &walk, int64_t chunk) {
  const int64_t first = chunk * kStepRows;
  return {first, 1, walk.rows - first < kStepRows ? walk.rows - first : kStepRows};
}

// L numbers from `unit` on of a row of a caller's array (rows, size), 0 past its end.
template <class T>
inline Vector<T> load_unit(const void *array, int64_t row, int64_t unit, int64_t size) {
  return load(static_cast<const T *>(array) + row * size + unit, size - unit);
}

// L numbers from `unit` on of a line of a layer's array (lines, H), 0 beyond its last unit.
template <class T>
inline Vector<T> load_line(const void *array, int64_t line, int64_t unit, int64_t hidden_size) {
  return unit < hidden_size ? load_unit<T>(array, line, unit, hidden_size) : Vector<T>{};
}

// The row of c̃_t in `cells`, of the row `at` of a step: that of c_t without zoneout of c.
inline int64_t computed_cell(const CellShape &cell, const Walk &walk, int64_t at) {
  return walk.batch + (cell.keeps_cells() ? walk.rows : 0) + at;
}

// L of the shares that a row takes; of padding 1.
template <class T>
inline Vector<T> share_taken(const void *taken, const Walk &walk, int64_t at, int64_t unit, int64_t hidden_size) {
  return unit < hidden_size ? load_unit<T>(taken, walk.position[at], unit, hidden_size) : splat<T>(1);
}

}  // namespace
