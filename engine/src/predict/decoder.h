// The decoder's steps over rows of hypotheses, (9), (10), (14)-(17).
//
// Work that rows share is computed once: rows that continue the same row, their parent, share its context and the product
// [context ; h] W of the gates. They differ in the embedding of their symbol, whose products are in a table.
#pragma once

#include <cmath>

#include "cell/attention.h"
#include "predict/packed_network.h"

namespace {

// The encoder's outputs for a source, and their keys.
struct SourceSlot {
  Buffer<float> outputs, keys;  // (T, M), (T, A); for a fixed context (1, M) and nothing
  int64_t length;
};

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
        encoder_scratch(net.format, in_lanes<float>(net.M), net.encoder.units()), bridged(net.format, memory),
        joints(net.format, memory + units), upper(net.format, 2 * units), readouts(net.format, units) {
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

  int64_t read(int64_t n, const int32_t *const *sources, const int64_t *lengths, const int64_t *where) override {
    FlushDenormals flush;
    int64_t total = 0, first = num_rows;
    for (int64_t b = 0; b < n; ++b) total += lengths[b];
    ids.reserve(total);
    for (int64_t b = 0, at = 0; b < n; at += lengths[b++])
      std::memcpy(ids.at(at), sources[b], size_t(lengths[b]) * sizeof(int32_t));
    last_h.reserve(net.encoder.layers() * n * net.M);
    last_c.reserve(net.encoder.layers() * n * net.M);
    net.encoder.read(n, ids.at(0), lengths, encoder_scratch, outputs, last_h.at(0), last_c.at(0));
    if (net.has_keys) find_keys(total);
    for (int64_t b = 0, at = 0; b < n; at += lengths[b++]) fill(slot(where[b]), n, b, at, lengths[b]);
    grow(state[0], first + n);
    row_slot.reserve(first + n);
    for (int64_t b = 0; b < n; ++b) *row_slot.at(first + b) = where[b];
    for (int64_t l = 0; l < net.num_layers; ++l) begin(l, n, first);
    num_rows = first + n;
    return first;
  }

  void step(int64_t n, const int64_t *parents, const int32_t *symbols) override {
    FlushDenormals flush;
    find_parents(n, parents);
    compute_contexts();
    for (int64_t l = 0; l < net.num_layers; ++l) advance(l, n, symbols);
    predict(n, symbols);
    next_slot.reserve(n);
    for (int64_t r = 0; r < n; ++r) *next_slot.at(r) = *row_slot.at(parents[r]);
    row_slot.reserve(n);
    std::memcpy(row_slot.at(0), next_slot.at(0), size_t(n) * sizeof(int64_t));
    LayerRows **before = state[0];
    state[0] = state[1];
    state[1] = before;
    num_rows = n;
  }

  float *log_probs(int64_t row) override { return logits.at(row * net.output.width()); }
  const float *attention(int64_t row) const override {
    return net.has_attention ? weights.at(*weights_at.at(*parent_index.at(row))) : nullptr;
  }

 private:
  static constexpr int L = kLanes<float>;
  const PackedNetwork &net;
  const int64_t units, memory;  // H and M in whole vectors
  LayerRows **state[2];      // of each layer: before and after the step being computed
  int64_t num_rows = 0, num_slots = 0;
  Buffer<int64_t> row_slot, next_slot;
  Buffer<SourceSlot *> slots;

  EncoderScratch encoder_scratch;
  Buffer<int32_t> ids;
  Buffer<float> outputs, last_h, last_c, all_keys, line;
  Operands bridged;

  // The parents of this step's rows, each once: 0 to num_parents - 1.
  int64_t num_parents = 0;
  Buffer<int64_t> parent_index, parent_row, index_of_row, weights_at;
  Buffer<float> queries, weights, joint, peephole_products, context_readouts, made_gates, made_readouts, reads, logits;
  Buffer<const float *> symbol_rows;
  Buffer<CellRow> cell_rows;
  CellScratch cell_scratch;
  Operands joints, upper, readouts;
  Selection selection;

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

  SourceSlot &slot(int64_t index) {
    slots.reserve(index + 1);
    for (; num_slots <= index; ++num_slots) *slots.at(num_slots) = new SourceSlot;
    return **slots.at(index);
  }

  // A row of M or H numbers, 0 up to whole vectors, in `line`.
  float *padded_line(const float *from, int64_t size) {
    line.reserve(in_lanes<float>(size));
    for (int64_t unit = 0; unit < size; unit += L) store(line.at(unit), load(from + unit, size - unit));
    return line.at(0);
  }

  // k_j of (15) for all h_j read.
  void find_keys(int64_t total) {
    bridged.reserve(total);
    selection.clear(total);
    for (int64_t i = 0; i < total; ++i) {
      bridged.put(i, padded_line(outputs.at(i * net.M), net.M));
      selection.add(bridged, i);
    }
    all_keys.reserve(total * net.keys.columns());
    net.keys.multiply(selection, all_keys.at(0), net.keys.columns());
  }

  void fill(SourceSlot &to, int64_t n, int64_t b, int64_t at, int64_t length) {
    const float *from = outputs.at(at * net.M);
    to.length = length;
    if (net.has_attention) {
      to.outputs.reserve(length * net.M);
      std::memcpy(to.outputs.at(0), from, size_t(length * net.M) * sizeof(float));
      if (!net.has_keys) return;
      to.keys.reserve(length * net.key_size);
      for (int64_t j = 0; j < length; ++j)
        std::memcpy(to.keys.at(j * net.key_size), all_keys.at((at + j) * net.keys.columns()),
                    size_t(net.key_size) * sizeof(float));
      return;
    }
    to.outputs.reserve(net.M);  // (8)
    const float *last = last_h.at(((net.encoder.layers() - 1) * n + b) * net.M);
    for (int64_t unit = 0; unit < net.M; unit += L) {
      Vector<float> sum{};
      for (int64_t j = 0; net.is_mean && j < length; ++j) sum += load(from + j * net.M + unit, net.M - unit);
      store(to.outputs.at(unit), net.is_mean ? sum / splat(float(length)) : load(last + unit, net.M - unit), net.M - unit);
    }
  }

  // The first states of layer l, (9), in rows first, first + 1, …
  void begin(int64_t l, int64_t n, int64_t first) {
    LayerRows &rows = *state[0][l];
    int64_t from = l + net.encoder.layers() - net.num_layers;
    int64_t at = (from > 0 ? from : 0) * n * net.M;
    begin_with(net.hidden_bridge ? &net.hidden_bridge[l] : nullptr, n, last_h.at(at), rows.h.at(first * units));
    for (int64_t i = first * units; net.hidden_bridge && i < (first + n) * units; i += L)
      store(rows.h.at(i), tanh<float>(load(rows.h.at(i))));
    if (!net.gru)
      begin_with(net.cell_bridge ? &net.cell_bridge[l] : nullptr, n, last_c.at(at), rows.c.at(first * units));
    for (int64_t r = first; r < first + n; ++r) {
      rows.hidden.put(r, rows.h.at(r * units));
      if (net.layers[l].is_full()) rows.cells.put(r, rows.c.at(r * units));
    }
  }

  void begin_with(const Affine *bridge, int64_t n, const float *from, float *to) {
    selection.clear(n);
    bridged.reserve(n);
    for (int64_t r = 0; r < n; ++r) {
      const float *row = padded_line(from + r * net.M, net.M);
      if (!bridge) {
        std::memcpy(to + r * units, row, size_t(units) * sizeof(float));
        continue;
      }
      bridged.put(r, row);
      selection.add(bridged, r);
    }
    if (bridge) bridge->apply(selection, to);
  }

  void find_parents(int64_t n, const int64_t *parents) {
    parent_index.reserve(n);
    parent_row.reserve(n);
    index_of_row.reserve(num_rows);
    for (int64_t r = 0; r < num_rows; ++r) *index_of_row.at(r) = -1;
    num_parents = 0;
    for (int64_t r = 0; r < n; ++r) {
      int64_t &found = *index_of_row.at(parents[r]);
      if (found < 0) {
        found = num_parents;
        *parent_row.at(num_parents++) = parents[r];
      }
      *parent_index.at(r) = found;
    }
  }

  const SourceSlot &source_of(int64_t m) const { return **slots.at(*row_slot.at(*parent_row.at(m))); }

  // For each parent: context, (15)-(17) or (8), and its products with the weights of the lowest layer and the readout.
  void compute_contexts() {
    if (net.has_attention) compute_attention();
    joints.reserve(num_parents);
    line.reserve(memory + units);
    selection.clear(num_parents);
    for (int64_t m = 0; m < num_parents; ++m) {
      const SourceSlot &source = source_of(m);
      for (int64_t unit = 0; unit < memory; unit += L)
        store(line.at(unit), net.has_attention ? attended(source).context(weights.at(*weights_at.at(m)), unit)
                                               : load(source.outputs.at(unit), net.M - unit));
      std::memcpy(line.at(memory), state[0][0]->h.at(*parent_row.at(m) * units), size_t(units) * sizeof(float));
      joints.put(m, line.at(0));
      selection.add(joints, m);
    }
    joint.reserve(num_parents * net.layers[0].gates());
    net.layers[0].join(selection, joint.at(0));
    context_readouts.reserve(num_parents * net.readout_context.columns());
    net.readout_context.multiply(selection, context_readouts.at(0), net.readout_context.columns());
  }

  Source<float> attended(const SourceSlot &source) const {
    const float *keys = net.has_keys ? source.keys.at(0) : source.outputs.at(0);
    return {keys, source.outputs.at(0), net.is_additive ? net.vector.at(0) : nullptr, source.length, net.key_size, net.M};
  }

  // α of (15), (16) for each parent.
  void compute_attention() {
    const LayerRows &top = *state[0][net.num_layers - 1];
    int64_t width = net.is_additive ? net.query.columns() : units, total = 0;
    weights_at.reserve(num_parents);
    selection.clear(num_parents);
    for (int64_t m = 0; m < num_parents; ++m) {
      *weights_at.at(m) = total;
      total += source_of(m).length;
      selection.add(top.hidden, *parent_row.at(m));
    }
    weights.reserve(total);
    queries.reserve(num_parents * width);
    if (net.is_additive) net.query.multiply(selection, queries.at(0), width);
    for (int64_t m = 0; m < num_parents; ++m) {
      const float *query = net.is_additive ? queries.at(m * width) : top.h.at(*parent_row.at(m) * units);
      attended(source_of(m)).weigh(query, weights.at(*weights_at.at(m)));
    }
  }

  // (1)-(6) of layer l.
  void advance(int64_t l, int64_t n, const int32_t *symbols) {
    const Cell &cell = net.layers[l];
    const LayerRows &before = *state[0][l];
    grow(state[1], n);
    LayerRows &now = *state[1][l];
    symbol_rows.reserve(n);
    if (l == 0)
      net.symbol_gates.find(net.embeddings, n, symbols,
                            [&](const Selection &x, float *out) { cell.project(x, out); }, selection, made_gates,
                            symbol_rows.at(0));
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
    cell.advance(n, cell_rows.at(0), now.cells, cell_scratch);
    for (int64_t r = 0; r < n; ++r) now.hidden.put(r, now.h.at(r * units));
  }

  // [h of the layer below ; h of the step before] of each row, times the weights.
  void join_below(int64_t l, int64_t n) {
    upper.reserve(n);
    line.reserve(2 * units);
    selection.clear(n);
    for (int64_t r = 0; r < n; ++r) {
      std::memcpy(line.at(0), state[1][l - 1]->h.at(r * units), size_t(units) * sizeof(float));
      std::memcpy(line.at(units), state[0][l]->h.at(*parent_row.at(*parent_index.at(r)) * units), size_t(units) * sizeof(float));
      upper.put(r, line.at(0));
      selection.add(upper, r);
    }
    joint.reserve(n * net.layers[l].gates());
    net.layers[l].join(selection, joint.at(0));
  }

  // (10): log p of every symbol, in `logits`.
  void predict(int64_t n, const int32_t *symbols) {
    const int64_t width = net.readout_state.columns(), all = net.output.width();
    const LayerRows &top = *state[1][net.num_layers - 1];
    selection.clear(n);
    for (int64_t r = 0; r < n; ++r) selection.add(top.hidden, r);
    reads.reserve(n * width);
    net.readout_state.multiply(selection, reads.at(0), width);
    net.symbol_readouts.find(net.embeddings, n, symbols,
                             [&](const Selection &x, float *out) { net.readout_symbol.apply(x, out); }, selection,
                             made_readouts, symbol_rows.at(0));
    readouts.reserve(n);
    selection.clear(n);
    for (int64_t r = 0; r < n; ++r) {
      float *to = reads.at(r * width);
      const float *context = context_readouts.at(*parent_index.at(r) * width), *symbol = *symbol_rows.at(r);
      for (int64_t i = 0; i < width; i += L) store(to + i, tanh<float>(load(to + i) + load(context + i) + load(symbol + i)));
      readouts.put(r, to);
      selection.add(readouts, r);
    }
    logits.reserve(n * all);
    net.output.apply(selection, logits.at(0));
    for (int64_t r = 0; r < n; ++r) normalize(logits.at(r * all));
  }

  // z becomes z - log Σ e^z.
  void normalize(float *z) const {
    float most = z[0], total = 0;
    for (int64_t i = 1; i < net.V; ++i) most = z[i] > most ? z[i] : most;
    Vector<float> sum{};
    int64_t i = 0;
    for (; i + L <= net.V; i += L) sum += exponential<float>(load(z + i) - splat(most));
    float lanes[L];
    store(lanes, exponential<float>(load(z + i, net.V - i) - splat(most)));
    for (int64_t lane = 0; lane < net.V - i; ++lane) total += lanes[lane];
    float all = most + float(std::log(double(sum_of<float>(sum)) + double(total)));
    for (i = 0; i < net.V; i += L) store(z + i, load(z + i, net.V - i) - splat(all), net.V - i);
  }
};

inline peephole::Decoder *PackedNetwork::new_decoder() const { return new PackedDecoder(*this); }

inline peephole::Network *pack_network(const peephole::NetworkView &view, const NumberFormat &format) {
  return new PackedNetwork(view, format);
}

}  // namespace
