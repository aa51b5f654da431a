// The decoder's steps over rows of hypotheses, (9), (10), (14)-(17).
//
// Work that rows share is computed once: rows that continue the same row, their parent, share its context and the product
// [context ; h] W of the gates. They differ in the embedding of their symbol, whose products are in a table. Where attention
// reads the symbol, (67), every row has a context, and so a parent, of its own.
#pragma once

#include <algorithm>
#include <cmath>

#include "predict/ctc.h"
#include "predict/packed_network.h"
#include "runtime/poll.h"

namespace {

// The rows of one layer: hidden states and cells.
struct LayerRows {
  LayerRows(const NumberFormat &format, int64_t units) : hidden(format, units), cells(format, units) {}
  Buffer<float> h, c;
  Operands hidden, cells;  // h as operands; c likewise with full peepholes
};

class PackedDecoder final : public peephole::Decoder {
 public:
  explicit PackedDecoder(const PackedNetwork &network)
      : net(network), units(in_lanes<float>(net.H)), memory(in_lanes<float>(net.M)),
        inner(net.input_feeding ? in_lanes<float>(net.M + net.H) : memory),
        encoder_scratch(net.format, net.encoder.sizes()), bridged(net.format, memory),
        attention_scratch(net.format, net.M), vectors(net.format, in_lanes<float>(net.D)),
        embedded(net.format, in_lanes<float>(net.E)), joints(net.format, inner + units), upper(net.format, 2 * units),
        summed(net.format, units), readouts(net.format, units) {
    for (auto &rows : state) rows = new_rows();
  }
  PackedDecoder(const PackedDecoder &) = delete;
  PackedDecoder &operator=(const PackedDecoder &) = delete;
  ~PackedDecoder() override {
    for (auto &rows : state) {
      for (int64_t l = 0; l < net.num_layers; ++l) delete rows[l];
      delete[] rows;
    }
    for (int64_t p = 0; p < num_slots; ++p) delete *slots.at(p);
  }

  int64_t read(int64_t n, const void *const *sources, const int32_t *const *copies, const int64_t *lengths,
               const int64_t *where) override {
    FlushDenormals flush;
    const int64_t first = num_rows;
    num_rows = first + n;
    row_slot.reserve(num_rows);
    row_weights.reserve(num_rows);
    grow(state[0], num_rows);
    if (net.input_feeding) begin_readouts(first, n);
    if (net.encoder.layers())
      encode(n, sources, copies, lengths, where, first);
    else
      begin_alone(n, where, first);
    for (int64_t b = 0; b < n; ++b) {
      *row_slot.at(first + b) = where[b];
      *row_weights.at(first + b) = slot(where[b]).first.at(0);
    }
    return first;
  }

  void step(int64_t n, const int64_t *parents, const int32_t *chosen) override {
    FlushDenormals flush;
    advance_all(n, parents, net.gate.copies() ? known(n, chosen) : chosen);
  }

  void step_vectors(int64_t n, const int64_t *parents, const float *given) override {
    FlushDenormals flush;
    embed(n, given);
    advance_all(n, parents, nullptr);
    peephole::poll(n * net.V * 8);
  }

  float *log_probs(int64_t row) override {
    return net.gate.copies() ? mixtures.at(row * mixture_width) : logits.at(row * net.output.width());
  }
  const float *attention(int64_t row) const override {
    return net.attention->has_weights() ? attended.at(*parent_index.at(row))->weights : nullptr;
  }
  void record_to(peephole::Recorder *to) override {
    recorder = encoder_scratch.recorder = to;
    recorded_steps = 0;
  }
  void bend(const float *given) override { bent = given; }
  peephole::Decoder *new_ctc() const override {
    return net.has_ctc ? new CtcDecoder(net, outputs, encoder_scratch.lengths) : nullptr;
  }

 private:
  static constexpr int L = kLanes<float>;
  static constexpr int64_t kPositionsAtOnce = 1 << 16;  // source positions attended to between two polls
  const PackedNetwork &net;
  const int64_t units, memory;  // H and M in whole vectors
  const int64_t inner;  // likewise of what the lowest layer reads besides the embedding: c_t and, with input feeding, r_{t-1}
  LayerRows **state[2];      // of each layer: before and after the step being computed
  int64_t num_rows = 0, num_slots = 0;
  int turn = 0;  // index of the present step's weights
  Buffer<int64_t> row_slot, next_slot;
  Buffer<const float *> row_weights;  // of each row, AttentionRow::weights of the step that made it
  Buffer<SourceSlot *> slots;

  EncoderScratch encoder_scratch;
  Buffer<float> outputs, last_h, last_c, line;
  Operands bridged;
  AttentionScratch attention_scratch;
  Buffer<SourceSlot *> read_slots;

  // The parents of this step's rows, each once: 0 to num_parents - 1.
  int64_t num_parents = 0;
  Buffer<int64_t> parent_index, parent_row, index_of_row;
  Buffer<AttentionRow> attended;
  Buffer<float> weights[2];  // of the step being computed, and of the one before
  Buffer<float> contexts, joint, peephole_products, context_readouts, made_gates, made_readouts, made_queries, reads, logits;
  Buffer<float> sums;  // of a residual stack: the h of all layers so far, (41)
  Buffer<float> fed_readouts;  // with input feeding: r_{t-1} of each row, (62)
  Buffer<float> mixtures, copied_sums;
  int64_t mixture_width = 0;
  Buffer<int32_t> fed;
  Buffer<const float *> symbol_rows, asked;
  Buffer<CellRow> cell_rows;
  CellScratch cell_scratch;
  Operands vectors, embedded;  // z_{t-1}, and A z_{t-1} + a
  Operands joints, upper, summed, readouts;
  Selection selection;

  peephole::Recorder *recorder = nullptr;  // of a trace, of one row
  int64_t recorded_steps = 0;
  const float *bent = nullptr;  // attention weights of the next step; NULL: computed

  // A step of all rows; without symbols, of the vectors that `embed` read.
  void advance_all(int64_t n, const int64_t *parents, const int32_t *symbols) {
    find_parents(n, parents);
    if (net.asks_symbol) ask(n, symbols);
    compute_contexts();
    for (int64_t l = 0; l < net.num_layers; ++l) advance(l, n, symbols);
    predict(n, symbols);
    if (recorder) record_step(symbols);
    next_slot.reserve(n);
    for (int64_t r = 0; r < n; ++r) *next_slot.at(r) = *row_slot.at(parents[r]);
    row_slot.reserve(n);
    std::memcpy(row_slot.at(0), next_slot.at(0), size_t(n) * sizeof(int64_t));
    row_weights.reserve(n);
    for (int64_t r = 0; r < n; ++r) *row_weights.at(r) = attended.at(*parent_index.at(r))->weights;
    LayerRows **before = state[0];
    state[0] = state[1];
    state[1] = before;
    num_rows = n;
  }

  // A z + a of (52) for n vectors z.
  void embed(int64_t n, const float *given) {
    const int64_t padded = in_lanes<float>(net.D), width = net.vector_input.width();
    vectors.reserve(n);
    line.reserve(padded);
    selection.clear(n);
    for (int64_t r = 0; r < n; ++r) {
      std::memset(line.at(0), 0, size_t(padded) * sizeof(float));
      std::memcpy(line.at(0), given + r * net.D, size_t(net.D) * sizeof(float));
      vectors.put(r, line.at(0));
      selection.add(vectors, r);
    }
    reads.reserve(n * width);
    net.vector_input.apply(selection, reads.at(0));
    embedded.reserve(n);
    for (int64_t r = 0; r < n; ++r) embedded.put(r, reads.at(r * width));
  }

  // The products of what each row was fed, in symbol_rows: `project` computes them, or a table has them.
  template <class Project>
  void find_products(const SymbolProducts &table, int64_t n, const int32_t *symbols, int64_t width, Project project,
                     Buffer<float> &made) {
    if (symbols) {
      table.find(net.embeddings, n, symbols, project, selection, made, symbol_rows.at(0));
      return;
    }
    selection.clear(n);
    for (int64_t r = 0; r < n; ++r) selection.add(embedded, r);
    made.reserve(n * width);
    project(selection, made.at(0));
    for (int64_t r = 0; r < n; ++r) *symbol_rows.at(r) = made.at(r * width);
  }

  LayerRows **new_rows() const {
    auto **rows = new LayerRows *[size_t(net.num_layers)];
    for (int64_t l = 0; l < net.num_layers; ++l) rows[l] = new LayerRows(net.format, units);
    return rows;
  }

  void grow(LayerRows **rows, int64_t size) {
    for (int64_t l = 0; l < net.num_layers; ++l) {
      rows[l]->h.reserve(size * units);
      rows[l]->c.reserve(size * units);
      rows[l]->hidden.reserve(size);
      if (net.layers[l].is_full()) rows[l]->cells.reserve(size);
    }
  }

  // r_0 of rows first, first + 1, …
  void begin_readouts(int64_t first, int64_t n);

  SourceSlot &slot(int64_t index) {
    slots.reserve(index + 1);
    for (; num_slots <= index; ++num_slots) *slots.at(num_slots) = new SourceSlot;
    return **slots.at(index);
  }

  // Reads n sources; their first states, (9), become rows first, first + 1, …
  void encode(int64_t n, const void *const *sources, const int32_t *const *copies, const int64_t *lengths,
              const int64_t *where, int64_t first);

  // The encoder's outputs, the first states in a row, and p(k | j) of CTC.
  void record_source(int64_t row);

  // What a step of one row has computed besides its layers.
  void record_step(const int32_t *symbols);

  // A language model: s_0 = 0, and no context.
  void begin_alone(int64_t n, const int64_t *where, int64_t first);

  // Keeps what the steps read of n sources, once the encoder has read them.
  void keep(int64_t n, const int64_t *lengths, const int64_t *where);

  // The first states of layer l, (9), in rows first, first + 1, …
  void begin(int64_t l, int64_t n, int64_t first);

  void begin_with(const Affine *bridge, int64_t n, const float *from, float *to);

  void find_parents(int64_t n, const int64_t *parents) {
    parent_index.reserve(n);
    parent_row.reserve(n);
    index_of_row.reserve(num_rows);
    for (int64_t r = 0; r < num_rows; ++r) *index_of_row.at(r) = -1;
    num_parents = 0;
    for (int64_t r = 0; r < n; ++r) {
      int64_t &found = *index_of_row.at(parents[r]);
      if (found < 0 || net.asks_symbol) {
        found = num_parents;
        *parent_row.at(num_parents++) = parents[r];
      }
      *parent_index.at(r) = found;
    }
  }

  const SourceSlot &source_of(int64_t m) const { return **slots.at(*row_slot.at(*parent_row.at(m))); }

  // W_y E(y_{t-1}) of each row, (67), in `asked`.
  void ask(int64_t n, const int32_t *symbols);

  // For each parent: context, (15)-(17) or (8), and its products with the weights of the lowest layer and the readout.
  void compute_contexts();

  // r_{t-1} of a row after the M numbers of the context in `line`, up to `inner`, (62).
  void append_readout(int64_t row);

  // α of (15), (16) for each parent.
  void compute_attention();

  // (1)-(6) of layer l.
  void advance(int64_t l, int64_t n, const int32_t *symbols) {
    const Cell &cell = net.layers[l];
    const LayerRows &before = *state[0][l];
    grow(state[1], n);
    LayerRows &now = *state[1][l];
    symbol_rows.reserve(n);
    if (l == 0)
      find_products(net.symbol_gates, n, symbols, cell.gates(),
                    [&](const Selection &x, float *out) { cell.project(x, out); }, made_gates);
    else
      join_below(l, n);
    if (cell.is_full()) {
      selection.clear(num_parents);
      for (int64_t m = 0; m < num_parents; ++m) selection.add(before.cells, *parent_row.at(m));
      peephole_products.reserve(num_parents * 2 * units);
      cell.multiply_peepholes(selection, peephole_products.at(0));
    }
    cell_rows.reserve(n);
    for (int64_t r = 0; r < n; ++r) {
      int64_t m = *parent_index.at(r), parent = *parent_row.at(m);
      *cell_rows.at(r) = {l ? cell.bias() : *symbol_rows.at(r),
                          joint.at((l ? r : m) * cell.gates()),
                          cell.is_full() ? peephole_products.at(m * 2 * units) : nullptr,
                          before.h.at(parent * units),
                          before.c.at(parent * units),
                          now.h.at(r * units),
                          now.c.at(r * units)};
    }
    if (recorder) cell.record(*cell_rows.at(0), {*recorder, "decoder", l, -1, recorded_steps}, now.cells, cell_scratch);
    cell.advance(n, cell_rows.at(0), now.cells, cell_scratch);
    if (recorder) cell.record_state(now.h.at(0), now.c.at(0), {*recorder, "decoder", l, -1, recorded_steps});
    for (int64_t r = 0; r < n; ++r) now.hidden.put(r, now.h.at(r * units));
    if (net.residual) add_to_sums(l, n, now.h.at(0));
  }

  void add_to_sums(int64_t l, int64_t n, const float *h) {
    sums.reserve(n * units);
    for (int64_t i = 0; i < n * units; i += L) store(sums.at(i), l ? load(sums.at(i)) + load(h + i) : load(h + i));
  }

  // The output of layer l for row r.
  const float *output_of(int64_t l, int64_t r) const {
    return net.residual ? sums.at(r * units) : state[1][l]->h.at(r * units);
  }

  // [output of the layer below ; h of the step before] of each row, times the weights.
  void join_below(int64_t l, int64_t n) {
    upper.reserve(n);
    line.reserve(2 * units);
    selection.clear(n);
    for (int64_t r = 0; r < n; ++r) {
      std::memcpy(line.at(0), output_of(l - 1, r), size_t(units) * sizeof(float));
      std::memcpy(line.at(units), state[0][l]->h.at(*parent_row.at(*parent_index.at(r)) * units), size_t(units) * sizeof(float));
      upper.put(r, line.at(0));
      selection.add(upper, r);
    }
    joint.reserve(n * net.layers[l].gates());
    net.layers[l].join(selection, joint.at(0));
  }

  // The output of the top layer for each row.
  void select_outputs(int64_t n);

  // (10): log p of every symbol, or the numbers that describe a vector, in `logits`.
  void predict(int64_t n, const int32_t *symbols);

  // (26), (27): log p of every symbol and of the texts to be copied, in `mixtures`.
  void mix(int64_t n, const int32_t *symbols);

  // The symbols that the decoder reads: <unk> for a text that was copied.
  const int32_t *known(int64_t n, const int32_t *symbols);

  // z becomes z - log Σ e^z.
  void normalize(float *z) const;
};

}  // namespace

#include "predict/decoder_context.h"
#include "predict/decoder_output.h"
#include "predict/decoder_start.h"

namespace {

inline peephole::Decoder *PackedNetwork::new_decoder() const { return new PackedDecoder(*this); }

inline peephole::Network *pack_network(const peephole::NetworkView &view, const NumberFormat &format) {
  return new PackedNetwork(view, format);
}

}  // namespace
