// What a decoder's step reads of the sources: each parent's attention, (15), (16), and context, with the products of contexts.
// Included by predict/decoder.h.
#pragma once

namespace {

// W_y E(y_{t-1}) of each row, (67), in `asked`.
inline void PackedDecoder::ask(int64_t n, const int32_t *symbols) {
  symbol_rows.reserve(n);
  find_products(net.symbol_queries, n, symbols, net.query_symbol.columns(),
                [&](const Selection &x, float *out) { net.query_symbol.multiply(x, out, net.query_symbol.columns()); },
                made_queries);
  asked.reserve(n);
  std::memcpy(asked.at(0), symbol_rows.at(0), size_t(n) * sizeof(const float *));
}

// For each parent: context, (15)-(17) or (8), and its products with the weights of the lowest layer and the readout.
inline void PackedDecoder::compute_contexts() {
  compute_attention();
  bent = nullptr;
  contexts.reserve(num_parents * memory);
  net.attention->find_contexts(num_parents, attended.at(0), contexts.at(0), memory, attention_scratch);
  joints.reserve(num_parents);
  line.reserve(inner + units);
  selection.clear(num_parents);
  for (int64_t m = 0; m < num_parents; ++m) {
    if (memory) std::memcpy(line.at(0), contexts.at(m * memory), size_t(memory) * sizeof(float));
    if (net.input_feeding) append_readout(*parent_row.at(m));
    peephole::poll(attended.at(m)->source->length * net.M);
    std::memcpy(line.at(inner), state[0][0]->h.at(*parent_row.at(m) * units), size_t(units) * sizeof(float));
    joints.put(m, line.at(0));
    selection.add(joints, m);
  }
  joint.reserve(num_parents * net.layers[0].gates());
  net.layers[0].join(selection, joint.at(0));
  const int64_t width = net.readout_state.columns();
  context_readouts.reserve(num_parents * width);
  if (net.M)
    net.readout_context.multiply(selection, context_readouts.at(0), width);
  else
    std::memset(context_readouts.at(0), 0, size_t(num_parents * width) * sizeof(float));
}

// r_{t-1} of a row after the M numbers of the context in `line`, up to `inner`, (62).
inline void PackedDecoder::append_readout(int64_t row) {
  std::memset(line.at(net.M), 0, size_t(inner - net.M) * sizeof(float));
  std::memcpy(line.at(net.M), fed_readouts.at(row * units), size_t(net.H) * sizeof(float));
}

// α of (15), (16) for each parent.
inline void PackedDecoder::compute_attention() {
  const LayerRows &top = *state[0][net.num_layers - 1];
  int64_t total = 0;
  for (int64_t m = 0; m < num_parents; ++m) total += net.attention->numbers(source_of(m).length);
  turn ^= 1;
  weights[turn].reserve(total);
  attended.reserve(num_parents);
  total = 0;
  for (int64_t first = 0, m = 0; m < num_parents; first = m) {
    int64_t positions = 0;
    selection.clear(num_parents - first);
    for (; m < num_parents && positions < kPositionsAtOnce; ++m) {
      const SourceSlot &source = source_of(m);
      const int64_t row = *parent_row.at(m);
      *attended.at(m) = {&source, top.h.at(row * units), net.asks_symbol ? *asked.at(m) : nullptr, *row_weights.at(row),
                         weights[turn].at(total)};
      total += net.attention->numbers(source.length);
      positions += source.length;
      selection.add(top.hidden, row);
    }
    net.attention->weigh(m - first, attended.at(first), selection, attention_scratch);
    for (int64_t i = first; bent && i < m; ++i) net.attention->bend(*attended.at(i), bent);
    peephole::poll(positions * net.M * 16);
  }
}

}  // namespace
