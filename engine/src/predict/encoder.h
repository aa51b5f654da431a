// The encoder over some sources of unequal lengths, (7), or (18)-(20): outputs h_j and the last state of each layer.
#pragma once

#include "predict/cell.h"
#include "predict/frontend.h"
#include "predict/ngram_vectors.h"
#include "predict/symbol_products.h"

namespace {

// E, M, and a cell's units in whole vectors.
struct EncoderSizes {
  FrontendSizes frontend;
  int64_t embedding, outputs, units;
};

// Memory for one direction of a layer.
struct DirectionScratch {
  DirectionScratch(const NumberFormat &format, int64_t units) : hidden(format, units), cells(format, units) {}
  Operands hidden, cells;
  CellScratch cell;
  Selection selection;
  Buffer<float> projected, joint, peephole_products, h, c;
  Buffer<const float *> outer;
  Buffer<CellRow> rows;
};

struct EncoderScratch {
  EncoderScratch(const NumberFormat &format, const EncoderSizes &sizes)
      : frontend(format, sizes.frontend), vectors(format, in_lanes<float>(sizes.embedding)),
        inputs(format, in_lanes<float>(sizes.outputs)), pairs(format, in_lanes<float>(2 * sizes.outputs)),
        directions{{format, sizes.units}, {format, sizes.units}} {}
  FrontendScratch frontend;
  Operands vectors;  // what the lowest layer reads; symbols are looked up in a table instead
  Operands inputs, pairs;
  DirectionScratch directions[2];
  Buffer<int32_t> symbols;
  Buffer<int64_t> lengths;
  Buffer<float> line;
  Buffer<int64_t> order, first;
  peephole::Recorder *recorder = nullptr;  // of a trace, which reads one source
};

class Encoder {
 public:
  Encoder(const peephole::NetworkView &view, const NumberFormat &format)
      : directions_(view.directions), layers_(view.encoder_layers), size_(view.encoder_size), pyramid_(view.pyramid), residual_(view.residual),
        embedding_size_(view.embedding_size), embeddings_(format, in_lanes<float>(view.embedding_size)), cells_(new Cell[size_t(layers_ * directions_)]),
        symbols_(new SymbolProducts[size_t(directions_)]),
        frontend_(view.input_size ? new Frontend(format, view) : nullptr),
        ngrams_(view.ngrams.rows ? new NgramVectors(view.source_embedding, view.ngrams) : nullptr) {
    for (int64_t i = 0; i < layers_ * directions_; ++i)
      cells_[i].pack(format, view.encoder[i], view, size_ / directions_, view.encoder[i].input.columns);
    if (frontend_ || ngrams_ || !layers_) return;
    read_embeddings(embeddings_, view.source_embedding);
    for (int64_t d = 0; d < directions_; ++d)
      symbols_[d].pack(embeddings_, view.source_embedding.rows, cells_[d].gates(),
                       [&](const Selection &x, float *out) { cells_[d].project(x, out); });
  }
  Encoder(const Encoder &) = delete;
  Encoder &operator=(const Encoder &) = delete;
  ~Encoder() {
    delete[] cells_;
    delete[] symbols_;
    delete frontend_;
    delete ngrams_;
  }

  int64_t layers() const { return layers_; }
  EncoderSizes sizes() const {
    return {frontend_ ? frontend_->sizes() : FrontendSizes(), embedding_size_, size_, layers_ ? cells_[0].units() : 0};
  }

  // The number of outputs for a source; without an encoder 1, which has no numbers.
  int64_t steps(int64_t length) const {
    if (!layers_) return 1;
    int64_t steps = frontend_ ? frontend_->steps(length) : length;
    for (int64_t layer = 1; layer <= pyramid_; ++layer) steps = Frontend::halved(steps);
    return steps;
  }

  // Reads n sources, `lengths` symbols (int32_t) or frames (F floats each) long. `outputs` (sum of s.lengths, M) gets
  // the top layer's h_j, and s.lengths how many there are of each source; last_h and last_c (layers, n, M) the last
  // states, both directions side by side; last_c is not written for a GRU.
  void read(int64_t n, const void *const *sources, const int64_t *lengths, EncoderScratch &s, Buffer<float> &outputs,
            float *last_h, float *last_c) const {
    take_sources(n, sources, lengths, s);
    sort(n, s.lengths.at(0), s);
    outputs.reserve(*s.first.at(n) * size_);
    for (int64_t layer = 0; layer < layers_; ++layer) {
      const Operands &below = layer ? take_inputs(layer, n, outputs, s) : s.vectors;
      auto read_directions = [&](int64_t first, int64_t end) {
        for (int64_t d = first; d < end; ++d) {
          const int64_t unit = d * (size_ / directions_), at = layer * n * size_ + unit;
          read_direction(layer, d, n, below, s, outputs.at(unit), last_h + at, last_c + at);
        }
      };
      const int64_t operations = *s.first.at(n) * size_ * cells_[layer].gates();
      if (s.recorder)
        read_directions(0, directions_);
      else
        share_range(operations, directions_, read_directions);
    }
  }

 private:
  static constexpr int L = kLanes<float>;
  int64_t directions_, layers_, size_, pyramid_;
  bool residual_;
  int64_t embedding_size_;
  Operands embeddings_;
  Cell *cells_;  // layer * directions + direction
  SymbolProducts *symbols_;
  const Frontend *frontend_;  // NULL: the sources are symbols
  const NgramVectors *ngrams_;  // NULL: symbols are read one by one

  // The sources as one row of symbols, or of vectors, and their lengths.
  void take_sources(int64_t n, const void *const *sources, const int64_t *lengths, EncoderScratch &s) const {
    s.lengths.reserve(n);
    if (frontend_) {
      frontend_->read(n, reinterpret_cast<const float *const *>(sources), lengths, s.frontend, s.vectors, s.lengths.at(0));
      return;
    }
    int64_t total = 0;
    for (int64_t b = 0; b < n; ++b) total += *s.lengths.at(b) = lengths[b];
    if (ngrams_) {
      s.vectors.reserve(total);
      for (int64_t b = 0, at = 0; b < n; at += lengths[b++])
        ngrams_->write(static_cast<const int32_t *>(sources[b]), lengths[b], at, s.line, s.vectors);
      return;
    }
    s.symbols.reserve(total);
    for (int64_t b = 0, at = 0; b < n; at += lengths[b++])
      std::memcpy(s.symbols.at(at), sources[b], size_t(lengths[b]) * sizeof(int32_t));
  }

  // A direction of a layer over all sources. Directions may run at the same time.
  void read_direction(int64_t layer, int64_t d, int64_t n, const Operands &below, EncoderScratch &all, float *out,
                      float *last_h, float *last_c) const {
    const Cell &cell = cells_[layer * directions_ + d];
    DirectionScratch &s = all.directions[d];
    const int64_t total = *all.first.at(n);
    s.outer.reserve(total);
    if (layer == 0 && !frontend_ && !ngrams_)
      symbols_[d].find(embeddings_, total, all.symbols.at(0),
                       [&](const Selection &x, float *to) { cell.project(x, to); }, s.selection, s.projected,
                       s.outer.at(0));
    else
      project(cell, total, below, s);
    run(cell, layer, n, d == 1, residual_ && layer > pyramid_, all, s, out, last_h, last_c);
  }

  // Products of the inputs of a layer, in s.outer.
  static void project(const Cell &cell, int64_t total, const Operands &inputs, DirectionScratch &s) {
    s.projected.reserve(total * cell.gates());
    s.selection.clear(total);
    for (int64_t i = 0; i < total; ++i) s.selection.add(inputs, i);
    cell.project(s.selection, s.projected.at(0));
    for (int64_t i = 0; i < total; ++i) *s.outer.at(i) = s.projected.at(i * cell.gates());
  }

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

  // The outputs of the layer below as operands, before the layer overwrites them with its own: one by one, or in pairs
  // in a pyramid, where s.lengths and s.first become those of the pairs.
  const Operands &take_inputs(int64_t layer, int64_t n, const Buffer<float> &outputs, EncoderScratch &s) const {
    const int64_t joined = layer <= pyramid_ ? 2 : 1, padded = in_lanes<float>(joined * size_);
    Operands &inputs = joined == 2 ? s.pairs : s.inputs;
    s.line.reserve(padded);
    inputs.reserve(*s.first.at(n));
    int64_t total = 0;
    for (int64_t b = 0; b < n; ++b) {
      int64_t steps = *s.lengths.at(b), from = *s.first.at(b);
      *s.first.at(b) = total;
      *s.lengths.at(b) = (steps + joined - 1) / joined;
      for (int64_t j = 0; j < steps; j += joined, ++total) {
        std::memset(s.line.at(0), 0, size_t(padded) * sizeof(float));
        int64_t here = steps - j < joined ? steps - j : joined;
        std::memcpy(s.line.at(0), outputs.at((from + j) * size_), size_t(here * size_) * sizeof(float));
        inputs.put(total, s.line.at(0));
      }
    }
    *s.first.at(n) = total;
    return inputs;
  }

  // Writes h_t to `out`, or adds it to the output of the layer below that is there, (41).
  void run(const Cell &cell, int64_t layer, int64_t n, bool reverse, bool adds, const EncoderScratch &all,
           DirectionScratch &s, float *out, float *last_h, float *last_c) const {
    const int64_t *lengths = all.lengths.at(0);
    int64_t units = cell.units(), H = size_ / directions_, longest = lengths[*all.order.at(0)], alive = n;
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
      while (lengths[*all.order.at(alive - 1)] <= step) --alive;
      if (step) multiply_states(cell, alive, s);
      for (int64_t rank = 0; rank < alive; ++rank) {
        float *h = s.h.at(rank * units), *c = s.c.at(rank * units);
        *s.rows.at(rank) = {*s.outer.at(token(rank, step, lengths, reverse, all)), s.joint.at(rank * cell.gates()),
                            s.peephole_products.at(rank * 2 * units), h, c, h, c};
      }
      const int64_t position = token(0, step, lengths, reverse, all);
      if (all.recorder) cell.record(*s.rows.at(0), {*all.recorder, "encoder", layer, reverse, position}, s.cells, s.cell);
      cell.advance(alive, s.rows.at(0), s.cells, s.cell);
      if (all.recorder) cell.record_state(s.h.at(0), s.c.at(0), {*all.recorder, "encoder", layer, reverse, position});
      for (int64_t rank = 0; rank < alive; ++rank) {
        float *to = out + token(rank, step, lengths, reverse, all) * size_;
        const float *h = s.h.at(rank * units);
        for (int64_t unit = 0; unit < H; unit += L)
          store(to + unit, adds ? load(to + unit, H - unit) + load(h + unit) : load(h + unit), H - unit);
      }
    }
    for (int64_t rank = 0; rank < n; ++rank) {
      int64_t at = *all.order.at(rank) * size_;
      std::memcpy(last_h + at, s.h.at(rank * units), size_t(H) * sizeof(float));
      if (cell.has_cell()) std::memcpy(last_c + at, s.c.at(rank * units), size_t(H) * sizeof(float));
    }
  }

  // Products of the states of the step before.
  static void multiply_states(const Cell &cell, int64_t alive, DirectionScratch &s) {
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
