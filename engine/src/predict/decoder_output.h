// The end of a decoder's step: log p of every symbol, (10), (26), (27), and its record. Included by predict/decoder.h.
#pragma once

namespace {

// The output of the top layer for each row.
inline void PackedDecoder::select_outputs(int64_t n) {
  const LayerRows &top = *state[1][net.num_layers - 1];
  selection.clear(n);
  if (net.residual) summed.reserve(n);
  for (int64_t r = 0; r < n; ++r) {
    if (net.residual) summed.put(r, sums.at(r * units));
    selection.add(net.residual ? summed : top.hidden, r);
  }
}

// (10): log p of every symbol, or the numbers that describe a vector, in `logits`.
inline void PackedDecoder::predict(int64_t n, const int32_t *symbols) {
  const int64_t width = net.readout_state.columns(), all = net.output.width();
  select_outputs(n);
  reads.reserve(n * width);
  net.readout_state.multiply(selection, reads.at(0), width);
  find_products(net.symbol_readouts, n, symbols, net.readout_symbol.width(),
                [&](const Selection &x, float *out) { net.readout_symbol.apply(x, out); }, made_readouts);
  readouts.reserve(n);
  if (net.input_feeding) fed_readouts.reserve(n * units);
  selection.clear(n);
  for (int64_t r = 0; r < n; ++r) {
    float *to = reads.at(r * width);
    const float *context = context_readouts.at(*parent_index.at(r) * width), *symbol = *symbol_rows.at(r);
    for (int64_t i = 0; i < width; i += L) store(to + i, tanh<float>(load(to + i) + load(context + i) + load(symbol + i)));
    readouts.put(r, to);
    if (net.input_feeding) std::memcpy(fed_readouts.at(r * units), to, size_t(units) * sizeof(float));
    selection.add(readouts, r);
  }
  logits.reserve(n * all);
  net.output.apply(selection, logits.at(0));
  if (!symbols) return;
  for (int64_t r = 0; r < n; ++r) {
    normalize(logits.at(r * all));
    peephole::poll(net.V * 8);
  }
  if (net.gate.copies()) mix(n, symbols);
}

// (26), (27): log p of every symbol and of the texts to be copied, in `mixtures`.
inline void PackedDecoder::mix(int64_t n, const int32_t *symbols) {
  const LayerRows &top = *state[1][net.num_layers - 1];
  int64_t most = 0;
  for (int64_t m = 0; m < num_parents; ++m) most = std::max(most, attended.at(m)->source->num_texts);
  mixture_width = net.V + most;
  mixtures.reserve(n * mixture_width);
  copied_sums.reserve(mixture_width);
  for (int64_t r = 0; r < n; ++r) {
    const int64_t m = *parent_index.at(r);
    const float *output = net.residual ? sums.at(r * units) : top.h.at(r * units);
    const float gate = net.gate.logit(symbols[r], output, contexts.at(m * memory));
    mix_copies(*attended.at(m), net.V, logits.at(r * net.output.width()), gate, copied_sums.at(0),
               mixtures.at(r * mixture_width));
    peephole::poll(net.V + attended.at(m)->source->length * 64);
  }
}

// The symbols that the decoder reads: <unk> for a text that was copied.
inline const int32_t *PackedDecoder::known(int64_t n, const int32_t *symbols) {
  fed.reserve(n);
  for (int64_t r = 0; r < n; ++r) *fed.at(r) = symbols[r] < net.V ? symbols[r] : PEEPHOLE_UNK;
  return fed.at(0);
}

// z becomes z - log Σ e^z.
inline void PackedDecoder::normalize(float *z) const {
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

// What a step of one row has computed besides its layers.
inline void PackedDecoder::record_step(const int32_t *symbols) {
  const AttentionRow &row = *attended.at(0);
  const int64_t length = row.source->length, step = recorded_steps++;
  recorder->record("context", -1, -1, nullptr, step, contexts.at(0), net.M);
  recorder->record("readout", -1, -1, nullptr, step, reads.at(0), net.H);
  if (!net.attention->has_weights()) return;
  recorder->record("attention", -1, -1, nullptr, step, row.weights, length);
  const int64_t heads = net.attention->heads();
  if (heads) recorder->record("attention.heads", -1, -1, nullptr, step, row.weights + length, heads * length);
  if (!net.gate.copies()) return;
  const float *output = net.residual ? sums.at(0) : state[1][net.num_layers - 1]->h.at(0);
  const float gate = float(std::exp(log_sigmoid(net.gate.logit(symbols[0], output, contexts.at(0)))));
  recorder->record("copy.gate", -1, -1, nullptr, step, &gate, 1);
  line.reserve(length);
  for (int64_t j = 0; j < length; ++j) *line.at(j) = (1 - gate) * row.weights[j];
  recorder->record("copy.weights", -1, -1, nullptr, step, line.at(0), length);
}

}  // namespace
