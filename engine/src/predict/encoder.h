// The encoder over some sources of unequal lengths, (7), or (18)-(20): outputs h_j and the last state of each layer.
#pragma once

#include "predict/cell.h"
#include "predict/symbol_products.h"

namespace {

struct EncoderScratch {
  EncoderScratch(const NumberFormat &format, int64_t input_size, int64_t units)
      : inputs(format, input_size), hidden(format, units), cells(format, units) {}
  Operands inputs, hidden, cells;
  CellScratch cell;
  Selection selection;
  Buffer<float> made, projected, joint, peephole_products, h, c, line;
  Buffer<const float *> outer;
  Buffer<CellRow> rows;
  Buffer<int64_t> order, first;
};

class Encoder {
 public:
  Encoder(const peephole::NetworkView &view, const NumberFormat &format)
      : directions_(view.directions), layers_(view.encoder_layers), size_(view.encoder_size),
        embeddings_(format, in_lanes<float>(view.embedding_size)), cells_(new Cell[size_t(layers_ * directions_)]),
        symbols_(new SymbolProducts[size_t(directions_)]) {
    read_embeddings(embeddings_, view.source_embedding);
    for (int64_t i = 0; i < layers_ * directions_; ++i)
      cells_[i].pack(format, view.encoder[i], view.gru, view.form, size_ / directions_, view.encoder[i].input.columns);
    for (int64_t d = 0; d < directions_; ++d)
      symbols_[d].pack(embeddings_, view.source_embedding.rows, cells_[d].gates(),
                       [&](const Selection &x, float *out) { cells_[d].project(x, out); });
  }
  Encoder(const Encoder &) = delete;
  Encoder &operator=(const Encoder &) = delete;
  ~Encoder() {
    delete[] cells_;
    delete[] symbols_;
  }

  int64_t layers() const { return layers_; }
  int64_t units() const { return cells_[0].units(); }

  // Sources as one row of symbols each, one after the other. `outputs` (sum of lengths, M) gets the top layer's h_j,
  // last_h and last_c (layers, n, M) the last states, both directions side by side; last_c is not written for a GRU.
  void read(int64_t n, const int32_t *symbols, const int64_t *lengths, EncoderScratch &s, Buffer<float> &outputs,
            float *last_h, float *last_c) const {
    sort(n, lengths, s);
    int64_t total = *s.first.at(n), width = cells_[0].gates();
    outputs.reserve(total * size_);
    s.outer.reserve(total);
    for (int64_t layer = 0; layer < layers_; ++layer) {
      if (layer) take_inputs(total, outputs, s);
      for (int64_t d = 0; d < directions_; ++d) {
        const Cell &cell = cells_[layer * directions_ + d];
        auto project = [&](const Selection &x, float *out) { cell.project(x, out); };
        if (layer == 0) {
          symbols_[d].find(embeddings_, total, symbols, project, s.selection, s.projected, s.outer.at(0));
        } else {
          s.projected.reserve(total * width);
          s.selection.clear(total);
          for (int64_t i = 0; i < total; ++i) s.selection.add(s.inputs, i);
          project(s.selection, s.projected.at(0));
          for (int64_t i = 0; i < total; ++i) *s.outer.at(i) = s.projected.at(i * width);
        }
        int64_t at = layer * n * size_ + d * (size_ / directions_);
        run(cell, n, lengths, d == 1, s, outputs.at(d * (size_ / directions_)), last_h + at, last_c + at);
      }
    }
  }

 private:
  static constexpr int L = kLanes<float>;
  int64_t directions_, layers_, size_;
  Operands embeddings_;
  Cell *cells_;  // layer * directions + direction
  SymbolProducts *symbols_;

  // order: the sources by decreasing length; first: index of each source's first symbol, and of the end.
  static void sort(int64_t n, const int64_t *lengths, EncoderScratch &s) {
    s.order.reserve(n);
    s.first.reserve(n + 1);
    int64_t total = 0;
    for (int64_t b = 0; b < n; ++b) {
      *s.first.at(b) = total;
      total += lengths[b];
      int64_t rank = b;
      for (; rank > 0 && lengths[*s.order.at(rank - 1)] < lengths[b]; --rank) *s.order.at(rank) = *s.order.at(rank - 1);
      *s.order.at(rank) = b;
    }
    *s.first.at(n) = total;
  }

  // The layer below's outputs as operands, before the layer overwrites them with its own.
  void take_inputs(int64_t total, const Buffer<float> &outputs, EncoderScratch &s) const {
    int64_t padded = in_lanes<float>(size_);
    s.inputs.reserve(total);
    s.line.reserve(padded);
    for (int64_t i = 0; i < total; ++i) {
      for (int64_t unit = 0; unit < padded; unit += L)
        store(s.line.at(unit), load(outputs.at(i * size_ + unit), size_ - unit));
      s.inputs.put(i, s.line.at(0));
    }
  }

  void run(const Cell &cell, int64_t n, const int64_t *lengths, bool reverse, EncoderScratch &s, float *out,
           float *last_h, float *last_c) const {
    int64_t units = cell.units(), H = size_ / directions_, longest = lengths[*s.order.at(0)], alive = n;
    s.h.reserve(n * units);
    s.c.reserve(n * units);
    s.joint.reserve(n * cell.gates());
    s.peephole_products.reserve(n * 2 * units);
    s.rows.reserve(n);
    s.hidden.reserve(n);
    s.cells.reserve(n);
    std::memset(s.h.at(0), 0, size_t(n * units) * sizeof(float));
    std::memset(s.c.at(0), 0, size_t(n * units) * sizeof(float));
    std::memset(s.peephole_products.at(0), 0, size_t(n * 2 * units) * sizeof(float));  // the first h and c are 0, so all products are
    std::memset(s.joint.at(0), 0, size_t(n * cell.gates()) * sizeof(float));
    for (int64_t step = 0; step < longest; ++step) {
      while (lengths[*s.order.at(alive - 1)] <= step) --alive;
      if (step) multiply_states(cell, alive, s);
      for (int64_t rank = 0; rank < alive; ++rank) {
        float *h = s.h.at(rank * units), *c = s.c.at(rank * units);
        *s.rows.at(rank) = {*s.outer.at(token(rank, step, lengths, reverse, s)), s.joint.at(rank * cell.gates()),
                            s.peephole_products.at(rank * 2 * units), h, c, h, c};
      }
      cell.advance(alive, s.rows.at(0), s.cells, s.cell);
      for (int64_t rank = 0; rank < alive; ++rank) {
        float *to = out + token(rank, step, lengths, reverse, s) * size_;
        for (int64_t unit = 0; unit < H; unit += L) store(to + unit, load(s.h.at(rank * units + unit)), H - unit);
      }
    }
    for (int64_t rank = 0; rank < n; ++rank) {
      int64_t at = *s.order.at(rank) * size_;
      std::memcpy(last_h + at, s.h.at(rank * units), size_t(H) * sizeof(float));
      if (cell.has_cell()) std::memcpy(last_c + at, s.c.at(rank * units), size_t(H) * sizeof(float));
    }
  }

  // Products of the states of the step before.
  static void multiply_states(const Cell &cell, int64_t alive, EncoderScratch &s) {
    s.selection.clear(alive);
    for (int64_t rank = 0; rank < alive; ++rank) {
      s.hidden.put(rank, s.h.at(rank * cell.units()));
      s.selection.add(s.hidden, rank);
    }
    cell.join(s.selection, s.joint.at(0));
    if (!cell.is_full()) return;
    s.selection.clear(alive);
    for (int64_t rank = 0; rank < alive; ++rank) s.selection.add(s.cells, rank);
    cell.multiply_peepholes(s.selection, s.peephole_products.at(0));
  }

  static int64_t token(int64_t rank, int64_t step, const int64_t *lengths, bool reverse, const EncoderScratch &s) {
    int64_t b = *s.order.at(rank);
    return *s.first.at(b) + (reverse ? lengths[b] - 1 - step : step);
  }
};

}  // namespace
