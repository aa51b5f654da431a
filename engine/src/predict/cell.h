// One step of an LSTM, (1)-(6), or a GRU for independent rows. The input x has two parts: the product of the outer part,
// an embedding, depends on the symbol alone; that of [inner x ; h], the joint part, on the step before.
#pragma once

#include "cell/gru.h"
#include "cell/layer_norm.h"
#include "cell/lstm.h"
#include "cell/zoneout.h"
#include "file/network_view.h"
#include "peephole.h"
#include "predict/network.h"
#include "simd/matrix.h"

namespace {

// The arrays that a step of one row reads and writes. Gates are stored in blocks: those of L units side by side, L the lanes of a vector.
struct CellRow {
  const float *outer;  // (units/L, 4, L): W x of the outer part, biases included
  const float *joint;  // (units/L, 4, L): W [inner x ; h]
  const float *peephole_products;   // (units/L, 2, L): W_ci c, W_cf c; full peepholes only
  const float *h_before, *c_before;  // (units); a GRU has no c
  float *h, *c;
};

struct CellScratch {
  Buffer<float> gates, peephole_products, fresh;
  Selection selection;
  Buffer<float> recorded;  // of a trace
};

// Where a trace records a cell, and as which row.
struct RecordedCell {
  peephole::Recorder &recorder;
  const char *part;
  int64_t layer, direction, row;  // direction -1: there is one only
};

class Cell {
 public:
  // The first `outer_size` columns of the input weights are the outer part.
  void pack(const NumberFormat &format, const peephole::LayerView &view, const peephole::NetworkView &network,
            int64_t hidden_size, int64_t outer_size) {
    const bool gru = gru_ = network.gru;
    const int32_t form = form_ = network.form;
    zoneout_hidden_ = float(network.zoneout_hidden);
    zoneout_cell_ = float(network.zoneout_cell);
    normalizes_ = network.layer_norm;
    is_regularized_ = normalizes_ || zoneout_hidden_ > 0 || zoneout_cell_ > 0;
    hidden_size_ = hidden_size;
    units_ = in_lanes<float>(hidden_size);
    if (outer_size) pack_gates(format, outer_, view, 0, outer_size, false);
    pack_gates(format, joint_, view, outer_size, view.input.columns - outer_size, true);
    pack_bias(view);
    if (normalizes_) pack_norm(view);
    if (form == PEEPHOLE_FULL && !gru) {
      peephole_if_.pack(format, 2 * units_, units_, 2, [&](int64_t block, int v, int lane, float *line) {
        int64_t unit = block * L + lane;
        return unit < hidden_size_ ? read(view.peephole, v * hidden_size_ + unit, line) : 0.0f;
      });
      peephole_o_.pack(format, units_, units_, kPanelVectors, [&](int64_t panel, int v, int lane, float *line) {
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
  int64_t gates() const { return kGates * units_; }
  const float *bias() const { return bias_.at(0); }

  // out (rows, gates): W x of the outer part, biases included.
  void project(const Selection &x, float *out) const {
    outer_.multiply(x, out, gates());
    for (int64_t r = 0; r < x.size(); ++r)
      for (int64_t i = 0; i < gates(); i += L)
        store(out + r * gates() + i, load(out + r * gates() + i) + load(bias_.at(i)));
  }

  // out (rows, gates), of rows [inner x ; h].
  void join(const Selection &rows, float *out) const { joint_.multiply(rows, out, gates()); }

  // out (rows, 2 units), of cells; full peepholes only.
  void multiply_peepholes(const Selection &cells, float *out) const { peephole_if_.multiply(cells, out, 2 * units_); }

  // The gates of a row, what σ and tanh are applied to, and the peepholes' shares; before `advance`, which needs nothing of
  // it. `cells`: memory for one operand.
  void record(const CellRow &row, const RecordedCell &to, Operands &cells, CellScratch &scratch) const {
    scratch.gates.reserve(gates());
    scratch.fresh.reserve(units_);
    scratch.recorded.reserve(units_);
    float *z = scratch.gates.at(0);
    add_up(row, z);
    if (gru_) return record_gru(z, to, scratch.recorded.at(0));
    make_cell(row, z, scratch.fresh.at(0));
    if (is_full()) multiply_new_cells(1, [&](int64_t) { return scratch.fresh.at(0); }, cells, scratch);
    static const char *const shares[] = {"peephole_i", "peephole_f", "peephole_o"};
    for (int gate = 0; gate < 3 && form_ != PEEPHOLE_NONE; ++gate) {
      for (int64_t unit = 0; unit < units_; unit += L)
        store(scratch.recorded.at(unit), share(row, gate, unit, scratch.fresh.at(0), scratch.peephole_products.at(0)));
      put(to, shares[gate], scratch.recorded.at(0));
      for (int64_t unit = 0; gate == 2 && unit < units_; unit += L) {
        float *o = z + unit * kGates + 3 * L;
        store(o, load(o) + load(scratch.recorded.at(unit)));
      }
    }
    if (normalizes_) normalize_gate(z, 3);
    static const char *const names[] = {"i", "f", "g", "o"}, *const sums[] = {"pre_i", "pre_f", "pre_g", "pre_o"};
    for (int gate = 0; gate < kGates; ++gate) record_gate(z, gate, gate == 2, names[gate], sums[gate], to, scratch.recorded.at(0));
  }

  // h and c after a step.
  void record_state(const float *h, const float *c, const RecordedCell &to) const {
    put(to, "h", h);
    if (has_cell()) put(to, "c", c);
  }

  // (1)-(6) for n rows. The new cells become operands 0 to n - 1 of `cells` if the peepholes are full.
  void advance(int64_t n, const CellRow *rows, Operands &cells, CellScratch &scratch) const {
    if (is_regularized_) return advance_regularized(n, rows, cells, scratch);
    if (gru_) {
      for (int64_t r = 0; r < n; ++r) advance_gru(rows[r]);
      return;
    }
    scratch.gates.reserve(n * units_);
    for (int64_t r = 0; r < n; ++r) advance_lstm(rows[r], scratch.gates.at(r * units_));
    if (!is_full()) return;
    multiply_new_cells(n, [&](int64_t r) { return rows[r].c; }, cells, scratch);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t unit = 0; unit < units_; unit += L) {
        int64_t at = r * units_ + unit;
        Vector<float> o = load(scratch.gates.at(at)) + load(scratch.peephole_products.at(at));
        store(rows[r].h + unit, hidden_state<float>(o, load(rows[r].c + unit)));
      }
  }

 private:
  static constexpr int L = kLanes<float>;
  bool gru_ = false, is_regularized_ = false, normalizes_ = false;
  float zoneout_hidden_ = 0, zoneout_cell_ = 0;
  int32_t form_ = PEEPHOLE_NONE;
  int64_t hidden_size_ = 0, units_ = 0;
  Matrix outer_, joint_, peephole_if_, peephole_o_;
  Buffer<float> bias_, diagonal_[3];
  Buffer<float> gain_, norm_bias_, cell_gain_, cell_bias_;  // of layer normalisation; the first two in the order of gates

  static float read(const MatrixView &matrix, int64_t row, float *line) {
    read_row(matrix, row, 0, matrix.columns, line);
    return step_of(matrix, row);
  }

  // A GRU's r, z, n become four gates: r, z, and W x and W h of n, since r multiplies W h alone.
  void pack_gates(const NumberFormat &format, Matrix &packed, const peephole::LayerView &view, int64_t first, int64_t count,
                  bool joint) {
    int64_t padded = in_lanes<float>(count);
    packed.pack(format, gates(), padded + (joint ? units_ : 0), kGates, [&](int64_t block, int gate, int lane, float *line) {
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
        step = other > step || !count ? other : step;  // one step for both, exact if their steps are equal
      }
      return step;
    });
  }

  void pack_bias(const peephole::LayerView &view) {
    bias_.reserve(gates());
    std::memset(bias_.at(0), 0, size_t(gates()) * sizeof(float));
    for (int64_t unit = 0; unit < hidden_size_; ++unit)
      for (int gate = 0; gate < kGates; ++gate) {
        float *to = bias_.at((unit / L * kGates + gate) * L + unit % L), hidden = 0;
        int64_t at = (gru_ && gate == 3 ? 2 : gate) * hidden_size_ + unit;
        if (!(gru_ && gate == 3)) read_row(view.bias, 0, at, 1, to);
        if (gru_ && gate != 2) read_row(view.bias_hidden, 0, at, 1, &hidden);
        *to += hidden;
      }
  }

  // The biases that are added after layer normalisation leave `bias_`; b_hn, which r multiplies, stays.
  void pack_norm(const peephole::LayerView &view) {
    gain_.reserve(gates());
    norm_bias_.reserve(gates());
    std::memset(gain_.at(0), 0, size_t(gates()) * sizeof(float));
    std::memset(norm_bias_.at(0), 0, size_t(gates()) * sizeof(float));
    for (int64_t unit = 0; unit < hidden_size_; ++unit)
      for (int gate = 0; gate < (gru_ ? 3 : kGates); ++gate) {
        int64_t at = (unit / L * kGates + gate) * L + unit % L;
        read_row(view.gain, 0, gate * hidden_size_ + unit, 1, gain_.at(at));
        *norm_bias_.at(at) = *bias_.at(at);
        *bias_.at(at) = 0;
      }
    if (gru_) return;
    read_padded(cell_gain_, view.cell_gain);
    read_padded(cell_bias_, view.cell_bias);
  }

  // Normalises the pre-activations of a gate, (44).
  void normalize_gate(float *z, int gate) const {
    const int64_t at = gate * L;
    normalize(z + at, hidden_size_, kGates * L, {gain_.at(at), norm_bias_.at(at)});
  }

  static Vector<float> sum(const CellRow &row, int64_t unit, int gate) {
    int64_t at = unit * kGates + gate * L;
    return load(row.joint + at) + load(row.outer + at);
  }

  // (1)-(6); with full peepholes (1)-(4), and the pre-activation of the output gate without W_co c to `open`.
  void advance_lstm(const CellRow &row, float *open) const {
    const bool full = form_ == PEEPHOLE_FULL, diagonal = form_ == PEEPHOLE_DIAGONAL;
    Peepholes<float> peephole{form_, row.peephole_products, {}};
    for (int64_t unit = 0; unit < units_; unit += L) {
      Gates<float> gate{sum(row, unit, 0), sum(row, unit, 1), sum(row, unit, 2), sum(row, unit, 3)};
      if (full) peephole.products = row.peephole_products + 2 * unit;
      for (int i = 0; diagonal && i < 3; ++i) peephole.diagonals[i] = diagonal_[i].at(unit);
      Vector<float> c = cell_state<float>(gate, load(row.c_before + unit), peephole);
      store(row.c + unit, c);
      if (full)
        store(open + unit, gate.o);
      else
        store(row.h + unit, hidden_state<float>(gate.o, c));
    }
  }

  // W_co c of the new cells, c(r), which become operands 0 to n - 1 of `cells`.
  template <class C>
  void multiply_new_cells(int64_t n, C c, Operands &cells, CellScratch &scratch) const {
    scratch.peephole_products.reserve(n * units_);
    scratch.selection.clear(n);
    for (int64_t r = 0; r < n; ++r) {
      cells.put(r, c(r));
      scratch.selection.add(cells, r);
    }
    peephole_o_.multiply(scratch.selection, scratch.peephole_products.at(0), units_);
  }

  // With zoneout, (43), or layer normalisation, (44)-(46). The state before may lie where the state after is written, so the cell that (4) gives has a place
  // of its own.
  void advance_regularized(int64_t n, const CellRow *rows, Operands &cells, CellScratch &scratch) const {
    scratch.gates.reserve(n * gates());
    scratch.fresh.reserve(n * units_);
    for (int64_t r = 0; r < n; ++r) {
      add_up(rows[r], scratch.gates.at(r * gates()));
      if (gru_)
        finish_gru(rows[r], scratch.gates.at(r * gates()));
      else
        make_cell(rows[r], scratch.gates.at(r * gates()), scratch.fresh.at(r * units_));
    }
    if (gru_) return;
    if (is_full()) multiply_new_cells(n, [&](int64_t r) { return scratch.fresh.at(r * units_); }, cells, scratch);
    for (int64_t r = 0; r < n; ++r) {
      const float *products = is_full() ? scratch.peephole_products.at(r * units_) : nullptr;
      finish_lstm(rows[r], scratch.gates.at(r * gates()), products, scratch.fresh.at(r * units_));
      if (is_full()) cells.put(r, rows[r].c);
    }
  }

  // The pre-activations of a row, without W_co c_t.
  void add_up(const CellRow &row, float *z) const {
    for (int64_t unit = 0; unit < units_; unit += L) {
      float *to = z + unit * kGates;
      for (int gate = 0; gate < kGates; ++gate) store(to + gate * L, sum(row, unit, gate));
      for (int gate = 0; gate < 2 && !gru_; ++gate) {
        if (is_full()) store(to + gate * L, load(to + gate * L) + load(row.peephole_products + 2 * unit + gate * L));
        if (form_ == PEEPHOLE_DIAGONAL)
          store(to + gate * L, fma(load(diagonal_[gate].at(unit)), load(row.c_before + unit), load(to + gate * L)));
      }
    }
  }

  // (1)-(4) from the pre-activations.
  void make_cell(const CellRow &row, float *z, float *fresh) const {
    for (int gate = 0; gate < 3 && normalizes_; ++gate) normalize_gate(z, gate);
    for (int64_t unit = 0; unit < units_; unit += L) {
      const float *from = z + unit * kGates;
      Gates<float> gate{load(from), load(from + L), load(from + 2 * L), load(from + 3 * L)};
      store(fresh + unit, cell_state<float>(gate, load(row.c_before + unit), {PEEPHOLE_NONE, nullptr, {}}));
    }
  }

  // (5), (6) and (43). `products`: W_co c_t; NULL unless the peepholes are full.
  void finish_lstm(const CellRow &row, float *z, const float *products, float *fresh) const {
    for (int64_t unit = 0; unit < units_; unit += L) {
      Vector<float> c = load(fresh + unit), o = load(z + unit * kGates + 3 * L);
      if (products) o += load(products + unit);
      if (form_ == PEEPHOLE_DIAGONAL) o = fma(load(diagonal_[2].at(unit)), c, o);
      store(z + unit * kGates + 3 * L, o);
      store(row.c + unit, keep_share(zoneout_cell_, load(row.c_before + unit), c));
    }
    if (normalizes_) {
      normalize_gate(z, 3);
      normalize(fresh, hidden_size_, L, {cell_gain_.at(0), cell_bias_.at(0)});  // (45)
    }
    for (int64_t unit = 0; unit < units_; unit += L) {
      Vector<float> o = load(z + unit * kGates + 3 * L), h = hidden_state<float>(o, load(fresh + unit));
      store(row.h + unit, keep_share(zoneout_hidden_, load(row.h_before + unit), h));
    }
  }

  void finish_gru(const CellRow &row, float *z) const {
    if (normalizes_) normalize_gru(z);
    for (int64_t unit = 0; unit < units_; unit += L) {
      const float *from = z + unit * kGates;
      Vector<float> before = load(row.h_before + unit);
      GRUGates<float> gate{load(from), load(from + L), load(from + 2 * L), load(from + 3 * L)};
      Vector<float> h = gru_hidden_state(gate, before);
      store(row.h + unit, keep_share(zoneout_hidden_, before, h));
    }
  }

  // (44), (46): the candidate's whole pre-activation takes the place of its first part, 0 that of the second.
  void normalize_gru(float *z) const {
    normalize_gate(z, 0);
    normalize_gate(z, 1);
    for (int64_t unit = 0; unit < units_; unit += L) {
      float *at = z + unit * kGates;
      store(at + 2 * L, fma(sigmoid<float>(load(at)), load(at + 3 * L), load(at + 2 * L)));
      store(at + 3 * L, Vector<float>{});
    }
    normalize_gate(z, 2);
  }

  void put(const RecordedCell &to, const char *name, const float *numbers) const {
    to.recorder.record(to.part, to.layer, to.direction, name, to.row, numbers, hidden_size_);
  }

  // The part of a gate's pre-activation that comes from a cell: W_ci c_{t-1}, W_cf c_{t-1}, W_co c_t. `products`: full W_co c_t.
  Vector<float> share(const CellRow &row, int gate, int64_t unit, const float *fresh, const float *products) const {
    if (form_ == PEEPHOLE_DIAGONAL) return load(diagonal_[gate].at(unit)) * load((gate == 2 ? fresh : row.c_before) + unit);
    return gate == 2 ? load(products + unit) : load(row.peephole_products + 2 * unit + gate * L);
  }

  // A gate and what σ, or tanh, is applied to.
  void record_gate(const float *z, int gate, bool is_tanh, const char *name, const char *sum, const RecordedCell &to,
                   float *line) const {
    for (int64_t unit = 0; unit < units_; unit += L) store(line + unit, load(z + unit * kGates + gate * L));
    put(to, sum, line);
    for (int64_t unit = 0; unit < units_; unit += L)
      store(line + unit, is_tanh ? tanh<float>(load(line + unit)) : sigmoid<float>(load(line + unit)));
    put(to, name, line);
  }

  void record_gru(float *z, const RecordedCell &to, float *line) const {
    if (normalizes_) normalize_gru(z);
    for (int64_t unit = 0; unit < units_ && !normalizes_; unit += L) {
      float *at = z + unit * kGates;
      store(at + 2 * L, fma(sigmoid<float>(load(at)), load(at + 3 * L), load(at + 2 * L)));
    }
    static const char *const names[] = {"r", "z", "n"}, *const sums[] = {"pre_r", "pre_z", "pre_n"};
    for (int gate = 0; gate < 3; ++gate) record_gate(z, gate, gate == 2, names[gate], sums[gate], to, line);
  }

  void advance_gru(const CellRow &row) const {
    for (int64_t unit = 0; unit < units_; unit += L) {
      GRUGates<float> gate{sum(row, unit, 0), sum(row, unit, 1), sum(row, unit, 2), sum(row, unit, 3)};
      store(row.h + unit, gru_hidden_state(gate, load(row.h_before + unit)));
    }
  }
};

}  // namespace
