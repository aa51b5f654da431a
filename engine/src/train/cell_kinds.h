// The kinds of cells in training.
#pragma once

#include "train/gru_backward.h"

namespace {

struct LSTMCell {
  template <class T, class O>
  using Forward = CellForward<T, O>;
  template <class T, class O>
  using Backward = CellBackward<T, O>;
};

struct GRUCell {
  template <class T, class O>
  using Forward = GRUCellForward<T, O>;
  template <class T, class O>
  using Backward = GRUCellBackward<T, O>;
};

// Calls body with a value of the kind's type, given its number in enum peephole_cell.
template <class Body>
auto with_cell(int32_t cell, Body body) {
  return cell == PEEPHOLE_GRU ? body(GRUCell()) : body(LSTMCell());
}

}  // namespace
