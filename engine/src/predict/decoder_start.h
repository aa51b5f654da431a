// How a decoder begins: sources are read, and their first states, (9), become rows. Included by predict/decoder.h.
#pragma once

namespace {

// r_0 of rows first, first + 1, …
inline void PackedDecoder::begin_readouts(int64_t first, int64_t n) {
  fed_readouts.reserve(num_rows * units);
  std::memset(fed_readouts.at(first * units), 0, size_t(n * units) * sizeof(float));
}

// Reads n sources; their first states, (9), become rows first, first + 1, …
inline void PackedDecoder::encode(int64_t n, const void *const *sources, const int32_t *const *copies,
                                  const int64_t *lengths, const int64_t *where, int64_t first) {
  last_h.reserve(net.encoder.layers() * n * net.M);
  last_c.reserve(net.encoder.layers() * n * net.M);
  net.encoder.read(n, sources, lengths, encoder_scratch, outputs, last_h.at(0), last_c.at(0));
  keep(n, encoder_scratch.lengths.at(0), where);
  for (int64_t b = 0; net.gate.copies() && b < n; ++b) keep_copies(slot(where[b]), copies[b], net.V);
  for (int64_t l = 0; l < net.num_layers; ++l) begin(l, n, first);
  if (recorder) record_source(first);
}

// The encoder's outputs, the first states in a row, and p(k | j) of CTC.
inline void PackedDecoder::record_source(int64_t row) {
  for (int64_t j = 0; j < *encoder_scratch.lengths.at(0); ++j)
    recorder->record("encoder.outputs", -1, -1, nullptr, j, outputs.at(j * net.M), net.M);
  for (int64_t l = 0; l < net.num_layers; ++l) {
    recorder->record("bridge", l, -1, "h", 0, state[0][l]->h.at(row * units), net.H);
    if (!net.gru) recorder->record("bridge", l, -1, "c", 0, state[0][l]->c.at(row * units), net.H);
  }
  if (net.has_ctc) CtcDecoder(net, outputs, encoder_scratch.lengths).record(*recorder);
}

// A language model: s_0 = 0, and no context.
inline void PackedDecoder::begin_alone(int64_t n, const int64_t *where, int64_t first) {
  for (int64_t b = 0; b < n; ++b) slot(where[b]).length = 1;
  for (int64_t l = 0; l < net.num_layers; ++l) {
    LayerRows &rows = *state[0][l];
    std::memset(rows.h.at(first * units), 0, size_t(n * units) * sizeof(float));
    std::memset(rows.c.at(first * units), 0, size_t(n * units) * sizeof(float));
    for (int64_t r = first; r < first + n; ++r) {
      rows.hidden.put(r, rows.h.at(r * units));
      if (net.layers[l].is_full()) rows.cells.put(r, rows.c.at(r * units));
    }
  }
}

// Keeps what the steps read of n sources, once the encoder has read them.
inline void PackedDecoder::keep(int64_t n, const int64_t *lengths, const int64_t *where) {
  read_slots.reserve(n);
  for (int64_t b = 0; b < n; ++b) *read_slots.at(b) = &slot(where[b]);
  const float *last = last_h.at((net.encoder.layers() - 1) * n * net.M);
  net.attention->keep({n, lengths, outputs.at(0), last}, read_slots.at(0), attention_scratch);
}

// The first states of layer l, (9), in rows first, first + 1, …
inline void PackedDecoder::begin(int64_t l, int64_t n, int64_t first) {
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

inline void PackedDecoder::begin_with(const Affine *bridge, int64_t n, const float *from, float *to) {
  selection.clear(n);
  bridged.reserve(n);
  for (int64_t r = 0; r < n; ++r) {
    const float *row = padded_line(line, from + r * net.M, net.M);
    if (!bridge) {
      std::memcpy(to + r * units, row, size_t(units) * sizeof(float));
      continue;
    }
    bridged.put(r, row);
    selection.add(bridged, r);
  }
  if (bridge) bridge->apply(selection, to);
}

}  // namespace
