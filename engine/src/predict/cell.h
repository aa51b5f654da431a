// One step of an LSTM, (1)-(6), or a GRU for rows that do not know each other. The work of a step is cut by what it waits
// for: the outer part of x (an embedding) for nothing, the joint part [inner x ; h] for the row before, the rest for both.
#pragma once

#include "file/network_view.h"
#include "peephole.h"
#include "simd/matrix.h"

namespace {

constexpr int kCellGates = 4;

// What a step of one row reads and writes. Gates stand in blocks: those of L units side by side, L the lanes of a vector.
struct CellRow {
  const float *outer;  // (units/L, 4, L): W x of the outer part, biases included
  const float *joint;  // (units/L, 4, L): W [inner x ; h]
  const float *look;   // (units/L, 2, L): W_ci c, W_cf c; full peepholes only
  const float *h_before, *c_before;  // (units); a GRU has no c
  float *h, *c;
};

template <class O>
struct CellScratch {
  Buffer<float> gates, looks;
  Selection<O> selection;
};

template <class O>
class Cell {
 public:
  // The first `outer_size` columns of the input weights are the outer part.
  void pack(const peephole::LayerView &view, bool gru, int32_t form, int64_t hidden_size, int64_t outer_size) {
    gru_ = gru;
    form_ = form;
    hidden_size_ = hidden_size;
    units_ = in_lanes<float>(hidden_size);
    if (outer_size) pack_gates(outer_, view, 0, outer_size, false);
    pack_gates(joint_, view, outer_size, view.input.columns - outer_size, true);
    pack_bias(view);
    if (form == PEEPHOLE_FULL && !gru) {
      looks_.pack(2 * units_, units_, 2, [&](int64_t block, int v, int lane, float *line) {
        int64_t unit = block * L + lane;
        return unit < hidden_size_ ? read(view.peephole, v * hidden_size_ + unit, line) : 0.0f;
      });
      look_o_.pack(units_, units_, kPanelVectors, [&](int64_t panel, int v, int lane, float *line) {
        int64_t unit = (panel * kPanelVectors + v) * L + lane;
        return unit < hidden_size_ ? read(view.peephole, 2 * hidden_size_ + unit, line) : 0.0f;
      });
    }
    if (form == PEEPHOLE_DIAGONAL && !gru)
      for (int gate = 0; gate < 3; ++gate) read_padded(diagonal_[gate], view.diagonal, gate);
  }

  bool is_full() const { return !gru_ && form_ == PEEPHOLE_FULL; }
  bool has_cell() const { return !gru_; }
  int64_t units() const { return units_; }
  int64_t gates() const { return kCellGates * units_; }
  const float *bias() const { return bias_.at(0); }

  // out (rows, gates): W x of the outer part, biases included.
  void project(const Selection<O> &x, float *out) const {
    outer_.multiply(x, out, gates());
    for (int64_t r = 0; r < x.size(); ++r)
      for (int64_t i = 0; i < gates(); i += L)
        store(out + r * gates() + i, load(out + r * gates() + i) + load(bias_.at(i)));
  }

  // out (rows, gates), of rows [inner x ; h].
  void join(const Selection<O> &rows, float *out) const { joint_.multiply(rows, out, gates()); }

  // out (rows, 2 units), of cells; full peepholes only.
  void look(const Selection<O> &cells, float *out) const { looks_.multiply(cells, out, 2 * units_); }

  // (1)-(6) for n rows. The new cells become operands 0 to n - 1 of `cells` if the peepholes are full.
  void advance(int64_t n, const CellRow *rows, Operands<O> &cells, CellScratch<O> &scratch) const {
    if (gru_) {
      for (int64_t r = 0; r < n; ++r) advance_gru(rows[r]);
      return;
    }
    scratch.gates.reserve(n * units_);
    for (int64_t r = 0; r < n; ++r) advance_lstm(rows[r], scratch.gates.at(r * units_));
    if (!is_full()) return;
    scratch.looks.reserve(n * units_);
    scratch.selection.clear(n);
    for (int64_t r = 0; r < n; ++r) {
      cells.put(r, rows[r].c);
      scratch.selection.add(cells, r);
    }
    look_o_.multiply(scratch.selection, scratch.looks.at(0), units_);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t unit = 0; unit < units_; unit += L) {
        int64_t at = r * units_ + unit;
        emit(rows[r], unit, load(scratch.gates.at(at)) + load(scratch.looks.at(at)), load(rows[r].c + unit));
      }
  }

 private:
  static constexpr int L = kLanes<float>;
  bool gru_ = false;
  int32_t form_ = PEEPHOLE_NONE;
  int64_t hidden_size_ = 0, units_ = 0;
  Matrix<O> outer_, joint_, looks_, look_o_;
  Buffer<float> bias_, diagonal_[3];

  static float read(const MatrixView &matrix, int64_t row, float *line) {
    read_row(matrix, row, 0, matrix.columns, line);
    return step_of(matrix, row);
  }

  // A GRU's r, z, n become four gates, r, z and the two parts of n that r stands between: W x and W h.
  void pack_gates(Matrix<O> &packed, const peephole::LayerView &view, int64_t first, int64_t count, bool joint) {
    int64_t padded = in_lanes<float>(count);
    packed.pack(gates(), padded + (joint ? units_ : 0), kCellGates, [&](int64_t block, int gate, int lane, float *line) {
      int64_t unit = block * L + lane, row = (gru_ && gate == 3 ? 2 : gate) * hidden_size_ + unit;
      if (unit >= hidden_size_) return 0.0f;
      float step = 0;
      if (!(gru_ && gate == 3)) {
        read_row(view.input, row, first, count, line);
        step = step_of(view.input, row);
      }
      if (joint && !(gru_ && gate == 2)) {
        read_row(view.hidden, row, 0, hidden_size_, line + padded);
        float other = step_of(view.hidden, row);
        step = other > step || !count ? other : step;  // one step for both; exact where the file has but one
      }
      return step;
    });
  }

  void pack_bias(const peephole::LayerView &view) {
    bias_.reserve(gates());
    std::memset(bias_.at(0), 0, size_t(gates()) * sizeof(float));
    for (int64_t unit = 0; unit < hidden_size_; ++unit)
      for (int gate = 0; gate < kCellGates; ++gate) {
        float *to = bias_.at((unit / L * kCellGates + gate) * L + unit % L), hidden = 0;
        int64_t at = (gru_ && gate == 3 ? 2 : gate) * hidden_size_ + unit;
        if (!(gru_ && gate == 3)) read_row(view.bias, 0, at, 1, to);
        if (gru_ && gate != 2) read_row(view.bias_hidden, 0, at, 1, &hidden);
        *to += hidden;
      }
  }

  static Vector<float> sum(const CellRow &row, int64_t unit, int gate) {
    int64_t at = unit * kCellGates + gate * L;
    return load(row.joint + at) + load(row.outer + at);
  }

  // (1)-(6); with full peepholes (1)-(4), and what is there of the output gate goes to `open`.
  void advance_lstm(const CellRow &row, float *open) const {
    bool full = form_ == PEEPHOLE_FULL, diagonal = form_ == PEEPHOLE_DIAGONAL;
    for (int64_t unit = 0; unit < units_; unit += L) {
      Vector<float> z_i = sum(row, unit, 0), z_f = sum(row, unit, 1), z_o = sum(row, unit, 3);
      Vector<float> before = load(row.c_before + unit);
      if (full) {
        z_i += load(row.look + 2 * unit);
        z_f += load(row.look + 2 * unit + L);
      }
      if (diagonal) {
        z_i = fma(load(diagonal_[0].at(unit)), before, z_i);
        z_f = fma(load(diagonal_[1].at(unit)), before, z_f);
      }
      Vector<float> i = sigmoid<float>(z_i), f = sigmoid<float>(z_f), g = tanh<float>(sum(row, unit, 2));  // (2), (1), (3)
      Vector<float> c = fma(f, before, i * g);                                                             // (4)
      if (diagonal) z_o = fma(load(diagonal_[2].at(unit)), c, z_o);
      store(row.c + unit, c);
      if (full)
        store(open + unit, z_o);
      else
        emit(row, unit, z_o, c);
    }
  }

  // (5), (6)
  static void emit(const CellRow &row, int64_t unit, Vector<float> z_o, Vector<float> c) {
    store(row.h + unit, sigmoid<float>(z_o) * tanh<float>(c));
  }

  void advance_gru(const CellRow &row) const {
    for (int64_t unit = 0; unit < units_; unit += L) {
      Vector<float> r = sigmoid<float>(sum(row, unit, 0)), z = sigmoid<float>(sum(row, unit, 1));
      Vector<float> n = tanh<float>(fma(r, sum(row, unit, 3), sum(row, unit, 2)));
      Vector<float> before = load(row.h_before + unit);
      store(row.h + unit, fma(z, before - n, n));
    }
  }
};

// A vocabulary's embeddings E(y) multiplied with some weights: a table made once, or, where that would be large, rows made
// when their symbols are read.
template <class O>
class SymbolProducts {
 public:
  // project(rows, out) writes `width` numbers for each row of operands.
  template <class Project>
  void pack(const Operands<O> &embeddings, int64_t symbols, int64_t width, Project project) {
    constexpr int64_t kLargestTable = 1 << 20;  // numbers
    width_ = width;
    has_table_ = symbols * width <= kLargestTable;
    if (!has_table_) return;
    Selection<O> all;
    all.clear(symbols);
    for (int64_t v = 0; v < symbols; ++v) all.add(embeddings, v);
    table_.reserve(symbols * width);
    project(all, table_.at(0));
  }

  // rows[r] becomes the product of symbol r; `made` holds what is not in the table.
  template <class Project>
  void find(const Operands<O> &embeddings, int64_t n, const int32_t *symbols, Project project, Selection<O> &selection,
            Buffer<float> &made, const float **rows) const {
    if (!has_table_) {
      selection.clear(n);
      for (int64_t r = 0; r < n; ++r) selection.add(embeddings, symbols[r]);
      made.reserve(n * width_);
      project(selection, made.at(0));
    }
    for (int64_t r = 0; r < n; ++r) rows[r] = has_table_ ? table_.at(symbols[r] * width_) : made.at(r * width_);
  }

 private:
  int64_t width_ = 0;
  bool has_table_ = false;
  Buffer<float> table_;
};

template <class O>
inline void read_embeddings(Operands<O> &to, const MatrixView &embedding) {
  Buffer<float> line;
  to.reserve(embedding.rows);
  for (int64_t v = 0; v < embedding.rows; ++v) {
    read_padded(line, embedding, v);
    to.put(v, line.at(0));
  }
}

}  // namespace
