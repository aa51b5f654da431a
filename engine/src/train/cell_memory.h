// What one LSTM layer in one direction keeps of a ragged batch: shared by the layer, the decoder, and their gradients.
#pragma once

#include "simd/operand.h"
#include "cell/lstm.h"
#include "peephole.h"
#include "train/weight_gradient.h"

namespace {

// Sizes and weights of a layer whose steps wait for each other. It reads x_t in two parts: what does not wait for the
// step before (the outer part, multiplied for all steps at once) and what does (the inner part: nothing in an encoder;
// the context, or the layer below, in a decoder). A step's product is that of [inner x_t ; h_{t-1}], its joint row.
struct CellShape {
  int32_t form;
  int64_t hidden_size, outer_size, inner_size;  // H, I without and with the context of the recurrence
  const void *weight_input;     // (4H, I), outer part first
  const void *weight_hidden;    // (4H, H)
  const void *bias;             // (4H)
  const void *weight_peephole;  // (3H, H), (3, H) or NULL
  const void *h0, *c0;          // (B, H)
  int64_t input_size() const { return outer_size + inner_size; }
  bool full() const { return form == PEEPHOLE_FULL; }
  bool diagonal() const { return form == PEEPHOLE_DIAGONAL; }
};

// What forward keeps for backward. Units are padded: Hp, Xp (inner part).
template <class T, class O>
struct CellSaved {
  T *gates;   // (rows, Hp/L, 4, L): i, f, g, o of the same L units side by side, L the lanes of a vector
  T *cells;   // (B + rows, Hp): c0 by rank, then c of each row
  O *joints;  // (rows, Xp + Hp): [inner x_t ; h_{t-1}]
  O *looked;  // (B + rows, Hp): `cells` as operands of the full peepholes; `cells` itself where O is T

  CellSaved(const CellShape &cell, int64_t batch, int64_t steps, Arena &arena) {
    int64_t units = padded<T>(cell.hidden_size), inner = padded<T>(cell.inner_size), rows = batch * steps;
    gates = arena.take<T>(rows * kGates * units);
    cells = arena.take<T>((batch + rows) * units);
    joints = arena.take<O>(rows * (inner + units));
    if constexpr (std::is_same_v<O, T>)
      looked = cells;
    else
      looked = arena.take<O>(cell.full() ? (batch + rows) * units : 0);
  }
};

// L numbers from `unit` on of a row of a caller's array (rows, size), 0 past its end.
template <class T>
inline Vector<T> load_unit(const void *array, int64_t row, int64_t unit, int64_t size) {
  return load(static_cast<const T *>(array) + row * size + unit, size - unit);
}

}  // namespace
