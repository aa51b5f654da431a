// The sizes and the saved arrays of one recurrent layer in one direction, for an encoder layer and for the decoder.
#pragma once

#include "simd/operand.h"
#include "cell/lstm.h"
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
  int64_t input_size() const { return outer_size + inner_size; }
  bool full() const { return form == PEEPHOLE_FULL; }
  bool diagonal() const { return form == PEEPHOLE_DIAGONAL; }
};

// Arrays that forward writes and backward reads. Units are padded: Hp, Xp (inner part).
template <class T, class O>
struct CellSaved {
  T *gates;   // (rows, Hp/L, 4, L): i, f, g, o of the same L units side by side, L the lanes of a vector
  T *cells;   // (B + rows, Hp): c0 by rank, then c of each row
  O *joints;  // (rows, Xp + Hp): [inner x_t ; h_{t-1}]
  O *cell_operands;  // (B + rows, Hp): `cells` as operands of the full peepholes; `cells` itself where O is T

  CellSaved(const CellShape &cell, int64_t batch, int64_t steps, Arena &arena) {
    int64_t units = padded<T>(cell.hidden_size), inner = padded<T>(cell.inner_size), rows = batch * steps;
    gates = arena.take<T>(rows * kGates * units);
    cells = arena.take<T>((batch + rows) * units);
    joints = arena.take<O>(rows * (inner + units));
    if constexpr (std::is_same_v<O, T>)
      cell_operands = cells;
    else
      cell_operands = arena.take<O>(cell.full() ? (batch + rows) * units : 0);
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

}  // namespace
