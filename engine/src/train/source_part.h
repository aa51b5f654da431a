// What the decoder of a training step reads of the source: a fixed context, (8), or memory and keys of an attention,
// (15), (21), (22), (24); and their gradients.
#pragma once

#include "train/recurrent_stack.h"

namespace {

template <class T>
class SourcePart {
 public:
  SourcePart(const NetworkView &network, StepCalls<T> &step_calls) : n(network), calls(step_calls) {}

  // encoder_stack NULL: of a language model, whose context is empty.
  void lay_out(Arena &arena, const RecurrentStack<T> *encoder_stack, int64_t batch, bool learns) {
    encoder = encoder_stack;
    B = batch;
    S = encoder ? encoder->steps() : 0;
    context = attends() ? nullptr : arena.take<T>(B * M);
    keys = has_keys() ? arena.take<T>(B * S * A) : nullptr;
    values = has_values() ? arena.take<T>(B * S * M) : nullptr;
    if (has_keys()) calls.need_linear(B * S, n.weight_keys, learns);
    if (has_values()) calls.need_linear(B * S, n.weight_values, learns);
    if (!learns) return;
    d_outputs = arena.take<T>(B * S * M);
    d_context = attends() ? nullptr : arena.take<T>(B * M);
    d_keys = attends() ? arena.take<T>(B * S * A) : nullptr;
    d_values = has_values() ? arena.take<T>(B * S * M) : nullptr;
    d_more = has_keys() ? arena.take<T>(B * S * M) : nullptr;
  }

  void forward(const NetworkView &w) const {
    if (has_keys()) calls.training.linear_forward(calls.linear(B * S, encoder->output(), w.weight_keys, nullptr, keys));
    if (has_values()) calls.training.linear_forward(calls.linear(B * S, encoder->output(), w.weight_values, nullptr, values));
    if (encoder && !attends()) fixed_context();
  }

  // Sets the kind of attention, its sizes and weights, and the source.
  void fill(peephole_decoder &p, const NetworkView &w) const {
    p.attention = kind();
    p.source_steps = S;
    p.memory_size = M;
    p.key_size = A;
    p.channels = w.filters.rows;
    p.filter_width = w.filters.columns;
    p.heads = w.heads;
    p.source_lengths = encoder ? encoder->lengths() : nullptr;
    p.memory = !attends() ? context : has_values() ? values : encoder->output();
    p.keys = !attends() ? nullptr : has_keys() ? keys : encoder->output();
    p.weight_query = w.weight_query.numbers;
    p.vector = w.vector.numbers;
    p.attention_bias = w.attention_bias.numbers;
    p.weight_location = (is(Alignment::kLocation) ? w.weight_location : w.weight_coverage).numbers;
    p.filters = w.filters.numbers;
    p.weight_output = w.weight_output.numbers;
  }
  void fill(peephole_decoder_gradients &d, const NetworkView &g) const {
    d.memory = !attends() ? d_context : has_values() ? d_values : d_outputs;
    d.keys = d_keys;
    d.weight_query = calls.to(g.weight_query);
    d.vector = calls.to(g.vector);
    d.attention_bias = calls.to(g.attention_bias);
    d.weight_location = calls.to(is(Alignment::kLocation) ? g.weight_location : g.weight_coverage);
    d.filters = calls.to(g.filters);
    d.weight_output = calls.to(g.weight_output);
  }

  // From the gradients that `fill` placed to that of the encoder's outputs, and, of a context that is the top layer's last
  // h, adds to that of it, (B, M).
  void backward(const NetworkView &w, const NetworkView &g, T *d_last_h) const {
    if (!attends()) return fixed_context_gradient(d_last_h);
    if (has_values()) {
      const peephole_linear problem = calls.linear(B * S, encoder->output(), w.weight_values, nullptr, nullptr);
      calls.backward(problem, d_values, d_outputs, g.weight_values, nullptr);
    }
    if (has_keys()) {
      const peephole_linear problem = calls.linear(B * S, encoder->output(), w.weight_keys, nullptr, nullptr);
      calls.backward(problem, d_keys, d_more, g.weight_keys, nullptr);
    }
    const T *more = has_keys() ? d_more : d_keys;
    calls.for_rows(B * S, [&](int64_t row) { calls.elements.add(d_outputs + row * M, more + row * M, nullptr, M); });
  }
  // (B, S, M): the gradient of the encoder's outputs.
  T *d_memory() const { return d_outputs; }

 private:
  using Alignment = peephole::Alignment;
  const NetworkView &n;
  StepCalls<T> &calls;
  const RecurrentStack<T> *encoder = nullptr;
  const int64_t M = n.encoder_size, A = n.hidden_size;
  int64_t B = 0, S = 0;
  T *context, *keys, *values;         // (B, M); (B, S, A), (B, S, M) W_v h_j
  T *d_context, *d_keys, *d_values, *d_outputs, *d_more;  // d_more: (B, S, M), by way of the keys

  bool attends() const { return n.context == peephole::Context::kAttention; }
  bool is(Alignment alignment) const { return attends() && n.attention == alignment; }
  bool has_keys() const { return attends() && !is(Alignment::kDot); }
  bool has_values() const { return is(Alignment::kMultihead); }

  int32_t kind() const {
    if (!attends()) return PEEPHOLE_FIXED_CONTEXT;
    switch (n.attention) {
      case Alignment::kAdditive: break;
      case Alignment::kDot:
      case Alignment::kGeneral: return PEEPHOLE_PRODUCT;
      case Alignment::kLocation: return PEEPHOLE_LOCATION;
      case Alignment::kCoverage: return PEEPHOLE_COVERAGE;
      case Alignment::kMultihead: return PEEPHOLE_MULTIHEAD;
    }
    return PEEPHOLE_ADDITIVE;
  }

  // (8)
  void fixed_context() const {
    if (n.context == peephole::Context::kLast) return encoder->last_state(n.encoder_layers - 1, false, context);
    calls.for_sequences(B, [&](int64_t b) {
      const int64_t length = encoder->lengths()[b];
      T *sum = context + b * M;
      clear(sum, M);
      for (int64_t j = 0; j < length; ++j) calls.elements.add(sum, encoder->output() + (b * S + j) * M, nullptr, M);
      for (int64_t i = 0; i < M; ++i) sum[i] /= T(length);
    });
  }

  void fixed_context_gradient(T *d_last_h) const {
    clear(d_outputs, B * S * M);
    if (n.context == peephole::Context::kLast) return calls.elements.add(d_last_h, d_context, nullptr, B * M);
    calls.for_sequences(B, [&](int64_t b) {
      const int64_t length = encoder->lengths()[b];
      for (int64_t j = 0; j < length; ++j)
        calls.elements.add_scaled(d_outputs + (b * S + j) * M, d_context + b * M, T(1) / T(length), M);
    });
  }
};

}  // namespace
