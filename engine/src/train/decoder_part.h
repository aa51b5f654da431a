// The decoder of a training step, with the bridge, (9), and their gradients.
#pragma once

#include "train/source_part.h"
#include "train/symbol_queries.h"

namespace {

template <class T>
class DecoderPart {
 public:
  DecoderPart(const NetworkView &network, StepCalls<T> &step_calls)
      : n(network), calls(step_calls), source(network, step_calls), queries(network, step_calls), layers(size_t(network.decoder_layers)), rows(layers.size()),
        d_rows(layers.size()), d_lasts(size_t(network.encoder_layers)) {}

  // encoder_stack NULL: of a language model, whose first states are 0. `distinct`: the inputs that replace `embedded` and
  // its gradient, or NULL. drawn: the factors of r_t, which input feeding reads.
  void lay_out(Arena &arena, const RecurrentStack<T> *encoder_stack, int64_t batch, int64_t steps, const int64_t *target_lengths,
               const peephole::DistinctInputs *distinct, const Mask &drawn, bool drops, bool learns) {
    encoder = encoder_stack;
    inputs = distinct;
    B = batch;
    U = steps;
    lengths = target_lengths;
    source.lay_out(arena, encoder_stack, B, learns);
    queries.lay_out(arena, B, U, learns);
    for (size_t l = 0; l < layers.size(); ++l) lay_out_layer(arena, l, drops, learns);
    all_contexts = arena.take<T>(B * U * M);
    all_weights = keeps_weights() ? arena.take<T>(B * U * encoder->steps()) : nullptr;
    sums = residual() ? arena.take<T>(B * U * H) : nullptr;
    if (n.input_feeding) lay_out_readouts(arena, drawn, drops, learns);
    peephole_decoder sizes = problem(n, nullptr);
    saved = arena.take<char>(int64_t(peephole_decoder_saved_bytes(&sizes)));
    calls.need(peephole::decoder_scratch_bytes(sizes, false, inputs));
    if (!learns) return;
    calls.need(peephole::decoder_scratch_bytes(sizes, true, inputs));
    for (Last &last : d_lasts) {
      last.h = arena.take<T>(B * M);
      last.c = arena.take<T>(B * M);
    }
  }

  void draw(const int64_t *examples, const int64_t *sites) const {
    for (size_t l = 1; l < layers.size(); ++l) calls.draw(layers[l].mask.drawn, B, examples, sites[l - 1]);
  }

  // As RecurrentStack's.
  void draw_shares(const int64_t *examples, const int64_t *sites) const {
    for (const Layer &layer : layers)
      for (const Shares<T> *shares : {&layer.taken_h, &layer.taken_c}) calls.draw(*shares, B, examples, examples ? *sites++ : 0);
  }

  // embedded: (B, U, E); the layers do not read it if inputs are distinct. feed: writes embeddings, and `asked`, from the
  // second step on; NULL: all are given.
  void forward(const NetworkView &w, T *embedded, const peephole::SymbolFeed *feed) {
    for (size_t l = 0; l < layers.size(); ++l) {
      first_state(w, l);
      spread(layers[l].mask);
    }
    spread(readout_mask);
    source.forward(w);
    queries.forward(w, lengths, embedded);
    calls.training.decoder_forward(problem(w, embedded), feed, inputs);
  }
  // Whether the loss reads the attention weights.
  bool keeps_weights() const { return n.gate_weight.rows || calls.settings.coverage_loss > 0; }
  // (B, U, H): the output of the stack; (B, U, M); (B, U, S), if they are kept
  const T *states() const { return residual() ? sums : layers.back().hidden; }
  const T *contexts() const { return all_contexts; }
  const T *weights() const { return all_weights; }
  // (B, U, A): W_y E(y_{t-1}) of (67); NULL: attention does not read the symbol.
  T *asked() const { return queries.asked; }
  // (B, U, E): the gradient of the embeddings by way of it, if it is read.
  const T *d_asked_embedded() const { return queries.d_embedded; }
  // With input feeding, (B, U, H): r_t without and with dropout, and its gradient by way of the output, which `backward`
  // replaces by that of r_t before the tanh; and (B, U, E): the gradient of the embeddings by way of r_t.
  const T *readouts() const { return all_readouts; }
  const T *fed() const { return all_fed; }
  T *d_readouts() const { return d_all_readouts; }
  const T *d_read_embedded() const { return d_embedded_read; }

  // d_weights: (B, U, S); NULL unless they are kept.
  void backward(const NetworkView &w, const NetworkView &g, const T *embedded, const T *d_states, const T *d_contexts,
                const T *d_weights, T *d_embedded) {
    for (size_t l = 0; l < layers.size(); ++l) {
      const peephole::LayerView &to = g.decoder[l];
      d_rows[l] = {layers[l].d_h0, has_cell_state() ? layers[l].d_c0 : nullptr, calls.to(to.input), calls.to(to.hidden),
                   calls.to(to.bias), calls.to(to.bias_hidden), calls.to(n.form == PEEPHOLE_FULL ? to.peephole : to.diagonal),
                   calls.to(to.gain), calls.to(to.cell_gain), calls.to(to.cell_bias)};
    }
    peephole_decoder_gradients d{};
    source.fill(d, g);
    d.states = d_states;
    d.contexts = d_contexts;
    d.weights = d_weights;
    d.embedded = d_embedded;
    d.asked = queries.d_asked;
    d.readouts = d_all_readouts;
    d.read_embedded = d_embedded_read;
    d.layers = d_rows.data();
    calls.training.decoder_backward(problem(w, embedded), d, inputs);
    queries.backward(w, g, embedded);
    for (Last &last : d_lasts) {
      clear(last.h, B * M);
      clear(last.c, B * M);
    }
    if (!encoder) return;
    source.backward(w, g, d_lasts.back().h);
    for (size_t l = 0; l < layers.size(); ++l) first_state_gradient(w, g, l);
  }

  // The gradients of the encoder's outputs, (B, S, M), and of a layer's last states, (B, M).
  T *d_memory() const { return source.d_memory(); }
  typename RecurrentStack<T>::LastGradients d_last(int64_t layer) const { return {d_lasts[layer].h, d_lasts[layer].c}; }

 private:
  // The factors of dropout, and the same as numbers at every step, (B, U, H); NULL: no dropout.
  struct SpreadMask {
    Mask drawn;
    T *numbers = nullptr;
  };
  struct Layer {
    T *last_h, *last_c;   // (B, M): the last states of its encoder layer
    T *h0, *c0, *hidden;  // (B, H), (B, U, H)
    SpreadMask mask;      // of its input from the layer below
    Shares<T> taken_h, taken_c;
    T *d_h0, *d_c0;       // (B, H)
    T *d_last;            // (B, M): of the bridge
  };
  struct Last {
    T *h, *c;
  };

  const NetworkView &n;
  StepCalls<T> &calls;
  SourcePart<T> source;
  SymbolQueries<T> queries;
  std::vector<Layer> layers;
  std::vector<peephole_decoder_layer> rows;
  std::vector<peephole_decoder_layer_gradients> d_rows;
  std::vector<Last> d_lasts;
  const RecurrentStack<T> *encoder = nullptr;
  const int64_t H = n.hidden_size, M = n.encoder_size;
  int64_t B = 0, U = 0;
  const int64_t *lengths = nullptr;
  const peephole::DistinctInputs *inputs = nullptr;
  T *all_contexts, *all_weights, *sums;  // all_weights: NULL unless they are kept
  SpreadMask readout_mask;               // this and the next: with input feeding
  T *all_readouts = nullptr, *all_fed = nullptr, *d_all_readouts = nullptr, *d_embedded_read = nullptr;
  char *saved;

  bool residual() const { return n.residual && layers.size() > 1; }
  bool has_cell_state() const { return !n.gru; }
  bool has_bridge() const { return n.bridge_hidden != nullptr; }
  // The encoder layer at the same distance from the top, or the lowest.
  int64_t encoder_layer(size_t l) const {
    return std::max(int64_t(0), int64_t(l) + n.encoder_layers - int64_t(layers.size()));
  }

  void lay_out_layer(Arena &arena, size_t l, bool drops, bool learns) {
    Layer &layer = layers[l];
    layer.last_h = arena.take<T>(B * M);
    layer.last_c = arena.take<T>(B * M);
    const bool own = has_bridge() || !encoder;
    layer.h0 = own ? arena.take<T>(B * H) : layer.last_h;
    layer.c0 = own ? arena.take<T>(B * H) : layer.last_c;
    layer.hidden = arena.take<T>(B * U * H);
    layer.mask = spread_mask(arena, calls.take_mask(arena, drops && l, B, U, H), drops && l);
    layer.taken_h = calls.take_shares(arena, n.zoneout_hidden, B, U, H);
    layer.taken_c = calls.take_shares(arena, has_cell_state() ? n.zoneout_cell : 0, B, U, H);
    if (has_bridge()) calls.need_linear(B, n.bridge_hidden[l].weight, learns);
    if (!learns) return;
    layer.d_h0 = arena.take<T>(B * H);
    layer.d_c0 = arena.take<T>(B * H);
    layer.d_last = arena.take<T>(has_bridge() ? B * M : 0);
  }

  // (9)
  void first_state(const NetworkView &w, size_t l) const {
    const Layer &layer = layers[l];
    if (!encoder) {
      clear(layer.h0, B * H);
      return clear(layer.c0, B * H);
    }
    encoder->last_state(encoder_layer(l), false, layer.last_h);
    if (has_cell_state()) encoder->last_state(encoder_layer(l), true, layer.last_c);
    if (!has_bridge()) return;
    const peephole::LinearView &hidden = w.bridge_hidden[l];
    calls.training.linear_forward(calls.linear(B, layer.last_h, hidden.weight, &hidden.bias, layer.h0));
    calls.elements.tanh(layer.h0, layer.h0, B * H);
    if (!has_cell_state()) return;
    const peephole::LinearView &cell = w.bridge_cell[l];
    calls.training.linear_forward(calls.linear(B, layer.last_c, cell.weight, &cell.bias, layer.c0));
  }

  void first_state_gradient(const NetworkView &w, const NetworkView &g, size_t l) const {
    const Layer &layer = layers[l];
    const Last &to = d_lasts[size_t(encoder_layer(l))];
    if (!has_bridge()) {
      calls.elements.add(to.h, layer.d_h0, nullptr, B * M);
      if (has_cell_state()) calls.elements.add(to.c, layer.d_c0, nullptr, B * M);
      return;
    }
    calls.elements.tanh_gradient(layer.d_h0, layer.d_h0, layer.h0, nullptr, B * H);
    auto back = [&](const T *last, const T *d_first, const peephole::LinearView &own, const peephole::LinearView &gradient, T *sum) {
      calls.backward(calls.linear(B, last, own.weight, nullptr, nullptr), d_first, layer.d_last, gradient.weight, &gradient.bias);
      calls.elements.add(sum, layer.d_last, nullptr, B * M);
    };
    back(layer.last_h, layer.d_h0, w.bridge_hidden[l], g.bridge_hidden[l], to.h);
    if (has_cell_state()) back(layer.last_c, layer.d_c0, w.bridge_cell[l], g.bridge_cell[l], to.c);
  }

  void lay_out_readouts(Arena &arena, const Mask &drawn, bool drops, bool learns) {
    readout_mask = spread_mask(arena, drawn, drops);
    all_readouts = arena.take<T>(B * U * H);
    all_fed = drops ? arena.take<T>(B * U * H) : all_readouts;
    if (!learns) return;
    d_all_readouts = arena.take<T>(B * U * H);
    d_embedded_read = arena.take<T>(B * U * n.embedding_size);
  }

  static bool reads_as_drawn(const Mask &mask) { return std::is_same_v<T, float> && !mask.variational; }

  SpreadMask spread_mask(Arena &arena, const Mask &drawn, bool drops) const {
    if (!drops) return {drawn, nullptr};
    return {drawn, reads_as_drawn(drawn) ? reinterpret_cast<T *>(drawn.numbers) : arena.take<T>(B * U * H)};
  }

  // Writes the drawn factors as numbers at every step, where the decoder cannot read them as they are.
  void spread(const SpreadMask &mask) const {
    if (!mask.numbers || reads_as_drawn(mask.drawn)) return;
    calls.for_rows(B * U, [&](int64_t at) {
      const float *from = mask.drawn.of(at);
      for (int64_t unit = 0; unit < H; ++unit) mask.numbers[at * H + unit] = T(from[unit]);
    });
  }

  peephole_decoder problem(const NetworkView &w, const T *embedded) {
    for (size_t l = 0; l < layers.size(); ++l) {
      const peephole::LayerView &own = w.decoder[l];
      const Layer &layer = layers[l];
      rows[l] = {layer.h0, has_cell_state() ? layer.c0 : nullptr, own.input.numbers, own.hidden.numbers, own.bias.numbers,
                 own.bias_hidden.numbers, n.form == PEEPHOLE_FULL ? own.peephole.numbers : own.diagonal.numbers, layer.mask.numbers,
                 layer.taken_h.numbers, layer.taken_c.numbers, own.gain.numbers, own.cell_gain.numbers, own.cell_bias.numbers, layer.hidden};
    }
    peephole_decoder p{};
    p.scalar = calls.settings.scalar;
    p.operand = calls.settings.operand;
    p.cell = n.gru ? PEEPHOLE_GRU : PEEPHOLE_LSTM;
    p.form = n.form;
    p.threads = calls.settings.threads;
    p.num_layers = int32_t(layers.size());
    p.zoneout = zoneout_of(layers[0].taken_h, layers[0].taken_c);
    p.layer_norm = n.layer_norm;
    p.residual = residual();
    p.batch = B;
    p.steps = U;
    p.embedding_size = n.embedding_size;
    p.hidden_size = H;
    source.fill(p, w);
    p.lengths = lengths;
    p.embedded = embedded;
    p.asked = queries.asked;
    p.input_feeding = n.input_feeding;
    p.readout_weight = w.readout.weight.numbers;
    p.readout_bias = w.readout.bias.numbers;
    p.readout_mask = readout_mask.numbers;
    p.readouts = all_readouts;
    p.fed = all_fed;
    p.layers = rows.data();
    p.contexts = all_contexts;
    p.weights = all_weights;
    p.sums = sums;
    p.saved = saved;
    p.scratch = calls.scratch[0];
    return p;
  }
};

}  // namespace
