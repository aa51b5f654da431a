// One training step of a whole network, from symbols or frames to the gradients of all weights: peephole.nn.Seq2Seq.loss_sum,
// and that of peephole.nn.vectors.VectorSeq2Seq.
//
// Rows are the real target steps, one sequence after the other; positions are b * U + t in arrays (B, U, …).
#pragma once

#include <optional>

#include "cell/ngrams.h"
#include "train/copy_part.h"
#include "train/coverage_part.h"
#include "train/ctc_part.h"
#include "train/frontend_part.h"
#include "train/readout_part.h"
#include "train/recurrent_stack.h"
#include "train/symbol_choice.h"
#include "train/symbol_inputs.h"
#include "train/vector_part.h"

namespace {

template <class T>
class TrainingStep {
 public:
  TrainingStep(const NetworkView &network, const peephole_trainer_settings &given, const TrainingKernels &training,
               const ElementKernels<T> &elements, void (*make_mask)(const peephole_dropout_mask &), const uint32_t *unit_keys)
      : n(network), settings(given), calls{training, elements, make_mask, given, unit_keys}, decoder(network, calls), readout(network, calls, decoder),
        copying(network, calls), coverage(calls), ctc(network, calls), vectors(network, calls), choice(network, calls, copying), frontend(network, calls),
        source_inputs(calls), target_inputs(calls) {
    const bool alone = is_language_model();
    const int64_t directions = alone ? 1 : n.directions;
    stack.emplace(StackShape{n.gru ? PEEPHOLE_GRU : PEEPHOLE_LSTM, n.form, n.embedding_size, alone ? H : M / directions, alone ? n.decoder_layers : n.encoder_layers,
                             directions, alone ? 0 : n.pyramid, n.residual, n.zoneout_hidden, n.zoneout_cell, n.layer_norm},
                  calls);
  }

  TrainingStep(const TrainingStep &) = delete;

  // The bytes of memory for a batch of checked arguments.
  size_t bytes(const peephole_trainer_step &step, bool learns) {
    Arena arena(nullptr);
    lay_out(arena, step, learns);
    return arena.used();
  }

  // Computes the loss with `weights` and, unless NULL, its gradients. `memory` has the bytes that `bytes` returned.
  double run(const peephole_trainer_step &step, const NetworkView &weights, const NetworkView *gradients, void *memory) {
    Arena arena(memory);
    lay_out(arena, step, gradients != nullptr);
    find_rows(step);
    if (copying.exists()) copying.find(step);
    if (vectors.exists()) vectors.find(weights, first_rows, lengths);
    if (frontend.exists()) frontend.read(step, weights, vectors.source_units(), gradients != nullptr);
    source_inputs.find(num_source_symbols, source_positions, source_symbols, weights.source_embedding);
    target_inputs.find(rows, positions, previous, weights.target_embedding);
    gradients ? draw(step) : draw_shares(nullptr, nullptr);
    forward(weights);
    double loss = vectors.exists() ? vectors.loss(weights, readout.dropped) : output(step, weights, gradients);
    if (step.log_densities) vectors.log_densities(first_rows, lengths, step.log_densities);
    if (ctc.exists()) loss = ctc.forward(weights, lengths, loss);
    if (gradients) backward(weights, *gradients);
    return loss;
  }

 private:
  const NetworkView &n;
  const peephole_trainer_settings &settings;
  StepCalls<T> calls;
  std::optional<RecurrentStack<T>> stack;  // the encoder; the decoder of a language model, which has no context
  DecoderPart<T> decoder;
  ReadoutPart<T> readout;
  CopyPart<T> copying;
  CoveragePart<T> coverage;
  CtcPart<T> ctc;
  VectorPart<T> vectors;
  SymbolChoice<T> choice;
  FrontendPart<T> frontend;                      // of frames
  SymbolInputs<T> source_inputs, target_inputs;  // of the lowest layers
  const int64_t H = n.hidden_size, M = n.encoder_size, E = n.embedding_size, R = H + M + E;
  int64_t B = 0, U = 0, S = 0, rows = 0;  // S: steps of the encoder's lowest layer
  int64_t *lengths, *positions, *previous, *gold, *source_positions, *source_symbols;
  int64_t num_source_symbols = 0;  // real symbols of all sources; 0 of frames
  int64_t *source_ngrams = nullptr;  // the row of each real source position in the table of trigrams, (66)
  Mask source_mask, target_mask, readout_mask;
  T *x, *embedded;                   // (B, S, E), (B, U, E)  with dropout
  T *loss;
  int64_t *first_rows;               // (B): the first row of each sequence
  T *d_x, *d_embedded, *d_states, *d_contexts;  // (B, S, E), (B, U, E), (B, U, H), (B, U, M)
  T *d_weights;                      // (B, U, steps of the encoder's output), of the attention weights

  bool is_language_model() const { return n.input == peephole::Input::kNone; }
  // Whether the decoder is computed layer by layer: it has no context, and all that it is fed is given.
  bool is_stack() const { return is_language_model() && !choice.exists() && !n.input_feeding; }
  bool has_ngrams() const { return n.ngrams.rows > 0; }

  void lay_out(Arena &arena, const peephole_trainer_step &step, bool learns) {
    const bool drops = learns && settings.dropout > 0, alone = is_language_model();
    B = step.batch;
    U = step.target_steps;
    calls.scratch_bytes = 0;
    rows = 0;
    for (int64_t b = 0; b < B; ++b) rows += target_length(step, b);
    lengths = arena.take<int64_t>(B);
    positions = arena.take<int64_t>(rows);
    previous = arena.take<int64_t>(rows);
    gold = arena.take<int64_t>(rows);
    target_mask = calls.take_mask(arena, drops, B, U, E);
    readout_mask = calls.take_mask(arena, drops, B, U, H);
    embedded = arena.take<T>(B * U * E);
    choice.lay_out(arena, step, learns);
    const bool symbols = !drops && !choice.exists() && !vectors.exists();
    target_inputs.lay_out(arena, symbols, n.target_embedding.rows, rows, B * U, E, learns);
    S = U;
    if (!alone) lay_out_source(arena, step, drops, learns);
    if (is_stack())
      stack->lay_out(arena, B, U, lengths, target_inputs.inputs(), drops, learns);
    else
      decoder.lay_out(arena, alone ? nullptr : &*stack, B, U, lengths, target_inputs.inputs(), readout_mask, drops, learns);
    readout.lay_out(arena, rows, positions, readout_mask, drops, learns);
    loss = arena.take<T>(1);
    first_rows = arena.take<int64_t>(B);
    if (copying.exists()) copying.lay_out(arena, rows, B, U, S, positions, learns);
    if (ctc.exists()) ctc.lay_out(arena, *stack, step, drops, learns);
    if (vectors.exists()) {
      vectors.lay_out(arena, step, rows, positions, learns);
    } else {
      const peephole_output_loss problem = output_problem(n);
      calls.need(peephole_output_loss_scratch_bytes(&problem, learns));
    }
    if (learns) {
      d_embedded = arena.take<T>(B * U * E);
      d_states = arena.take<T>(B * U * H);
      d_contexts = arena.take<T>(B * U * M);
      const bool keeps = !is_language_model() && decoder.keeps_weights();
      d_weights = keeps ? arena.take<T>(B * U * stack->steps()) : nullptr;
      if (coverage.exists()) coverage.lay_out(arena, *stack, B, U);
    }
    for (int64_t d = 0; d < n.directions; ++d) calls.scratch[d] = arena.take<char>(int64_t(calls.scratch_bytes));
  }

  void lay_out_source(Arena &arena, const peephole_trainer_step &step, bool drops, bool learns) {
    const bool frames = frontend.exists();
    S = stack->rounded(frames ? frontend.steps(step.source_steps) : step.source_steps);
    num_source_symbols = 0;
    for (int64_t b = 0; b < B && !frames; ++b) num_source_symbols += step.source_lengths[b];
    source_positions = arena.take<int64_t>(num_source_symbols);
    source_symbols = arena.take<int64_t>(num_source_symbols);
    source_mask = calls.take_mask(arena, drops, B, S, E);
    const bool own = drops || frames || has_ngrams();  // each position has a vector of its own
    if (frames) frontend.lay_out(arena, step, S, learns);
    source_ngrams = has_ngrams() ? arena.take<int64_t>(num_source_symbols) : nullptr;
    source_inputs.lay_out(arena, !own, n.source_embedding.rows, num_source_symbols, B * S, E, learns);
    x = own ? arena.take<T>(B * S * E) : nullptr;
    d_x = learns && own ? arena.take<T>(B * S * E) : nullptr;
    stack->lay_out(arena, B, S, frames ? frontend.lengths() : step.source_lengths, source_inputs.inputs(), drops, learns);
  }

  int64_t target_length(const peephole_trainer_step &step, int64_t b) const {
    if (vectors.exists()) return vectors.length(step, b);
    const int64_t *target = step.targets + b * U;
    return std::find(target, target + U, int64_t(PEEPHOLE_PAD)) - target;
  }

  // The position of each row and, of symbols, its y_{t-1} and y_t; and the symbol of each real source position.
  void find_rows(const peephole_trainer_step &step) {
    int64_t row = 0;
    for (int64_t b = 0; b < B; ++b) {
      first_rows[b] = row;
      lengths[b] = target_length(step, b);
      for (int64_t t = 0; t < lengths[b]; ++t, ++row) {
        positions[row] = b * U + t;
        if (vectors.exists()) continue;
        previous[row] = t ? fed(step.targets[b * U + t - 1]) : int64_t(PEEPHOLE_BOS);
        gold[row] = step.targets[b * U + t];
      }
    }
    if (is_language_model() || frontend.exists()) return;
    int64_t at = 0;
    for (int64_t b = 0; b < B; ++b) {
      const int64_t *source = step.sources + b * step.source_steps, length = step.source_lengths[b];
      if (has_ngrams()) for_ngrams(source, length, n.ngrams.rows, [&](int64_t t, int64_t row) { source_ngrams[at + t] = row; });
      for (int64_t t = 0; t < length; ++t, ++at) {
        source_positions[at] = b * S + t;
        source_symbols[at] = source[t];
      }
    }
  }

  // What the decoder is fed for a symbol: <unk> for a copied one that it lacks.
  int64_t fed(int64_t symbol) const { return symbol < n.target_embedding.rows ? symbol : int64_t(PEEPHOLE_UNK); }

  void draw(const peephole_trainer_step &step) {
    const int64_t *sites = step.sites;
    if (!is_language_model()) {
      calls.draw(source_mask, B, step.examples, *sites++);
      stack->draw(step.examples, sites);
      sites += n.encoder_layers - 1;
    }
    calls.draw(target_mask, B, step.examples, *sites++);
    is_stack() ? stack->draw(step.examples, sites) : decoder.draw(step.examples, sites);
    sites += n.decoder_layers - 1;
    calls.draw(readout_mask, B, step.examples, *sites);
    if (ctc.exists()) ctc.draw(sites[2]);  // after the choices of sampling
    draw_shares(step.examples, sites + (ctc.exists() ? 3 : 2));
  }

  // Those of zoneout; examples NULL: their means.
  void draw_shares(const int64_t *examples, const int64_t *sites) const {
    if (!(n.zoneout_hidden > 0 || n.zoneout_cell > 0)) return;  // there are no such sites
    if (!is_language_model()) {
      stack->draw_shares(examples, sites);
      if (examples) sites += 2 * n.encoder_layers * n.directions;
    }
    is_stack() ? stack->draw_shares(examples, sites) : decoder.draw_shares(examples, sites);
  }

  // to[position] = the symbol's vector, with dropout.
  void embed(const MatrixView &table, int64_t count, const int64_t *at, const int64_t *symbols, const Mask &mask, T *to) const {
    calls.for_rows(count, [&](int64_t i) {
      calls.elements.multiply(to + at[i] * E, calls.in(table) + symbols[i] * E, mask.of(at[i]), E);
    });
  }

  void add_ngrams(const MatrixView &table) const {
    calls.for_rows(num_source_symbols, [&](int64_t i) {
      const int64_t at = source_positions[i];
      calls.elements.add(x + at * E, calls.in(table) + source_ngrams[i] * E, source_mask.of(at), E);
    });
  }

  // The gradient of `embed`: sums in the order of the rows, in tasks of some columns.
  void embed_gradient(const MatrixView &gradient, int64_t count, const int64_t *at, const int64_t *symbols, const Mask &mask,
                      const T *from) const {
    constexpr int64_t kColumns = 64;
    T *table = calls.to(gradient);
    calls.template for_rows<512>(gradient.rows, [&](int64_t row) { clear(table + row * E, E); });
    for_tasks(settings.threads, (E + kColumns - 1) / kColumns, [&](int64_t task, int) {
      const int64_t first = task * kColumns, size = std::min(kColumns, E - first);
      for (int64_t i = 0; i < count; ++i) {
        const float *factors = mask.of(at[i]);
        calls.elements.add(table + symbols[i] * E + first, from + at[i] * E + first, factors ? factors + first : nullptr, size);
      }
    });
  }

  void forward(const NetworkView &w) {
    vectors.exists() ? vectors.embed(w, target_mask, embedded) : embed(w.target_embedding, rows, positions, previous, target_mask, embedded);
    if (!is_language_model()) encode(w);
    const T *states, *contexts = nullptr;
    if (is_stack()) {
      stack->forward(embedded, w.decoder);
      states = stack->output();
    } else {
      Feeding feeding{*this, w};
      const peephole::SymbolFeed feed{feed_symbols, &feeding};
      decoder.forward(w, embedded, choice.exists() ? &feed : nullptr);
      states = decoder.states();
      contexts = decoder.contexts();
    }
    calls.for_rows(rows, [&](int64_t row) { read(positions[row], states, contexts, readout.inputs + row * R); });
    if (copying.exists()) copying.forward(w, readout.inputs);
    readout.forward(w);
  }

  void encode(const NetworkView &w) {
    if (frontend.exists())
      frontend.forward(w, source_mask, x);
    else if (x)
      embed(w.source_embedding, num_source_symbols, source_positions, source_symbols, source_mask, x);
    if (has_ngrams()) add_ngrams(w.ngrams);
    stack->forward(x, w.encoder);
  }

  // [s_t ; c_t ; E(y_{t-1})] of a position.
  void read(int64_t at, const T *states, const T *contexts, T *to) const {
    copy(to, states + at * H, H);
    if (M) copy(to + H, contexts + at * M, M);
    copy(to + H + M, embedded + at * E, E);
  }

  struct Feeding {
    TrainingStep &step;
    const NetworkView &weights;
  };

  static void feed_symbols(void *context, const int64_t *at, int64_t count, int worker) {
    const Feeding &feeding = *static_cast<Feeding *>(context);
    feeding.step.choose_symbols(feeding.weights, at, count, worker);
  }

  // (14): where it is drawn, feeds the most probable symbol in place of the gold one, which is fed already.
  void choose_symbols(const NetworkView &w, const int64_t *at, int64_t count, int worker) {
    auto from = [&](int64_t position, T *to) { read(position, decoder.states(), decoder.contexts(), to); };
    auto feed = [&](int64_t next, int64_t symbol) {
      symbol = fed(symbol);
      previous[first_rows[next / U] + next % U] = symbol;
      calls.elements.multiply(embedded + next * E, calls.in(w.target_embedding) + symbol * E, target_mask.of(next), E);
    };
    choice.run(w, at, count, worker, readout_mask, decoder.weights(), from, feed);
    if (decoder.asked()) choice.ask(w, at, count, worker, embedded, decoder.asked());
  }

  peephole_output_loss output_problem(const NetworkView &w) const {
    peephole_output_loss p{};
    p.scalar = settings.scalar;
    p.operand = settings.operand;
    p.threads = settings.threads;
    p.rows = rows;
    p.hidden_size = H;
    p.symbols = w.output.weight.rows;
    p.padding = PEEPHOLE_PAD;
    p.targets = gold;
    p.readouts = readout.dropped;
    p.weight = w.output.weight.numbers;
    p.bias = w.output.bias.numbers;
    p.loss = loss;
    p.scratch = calls.scratch[0];
    if (copying.exists()) copying.fill(p, decoder.weights());
    return p;
  }

  double output(const peephole_trainer_step &step, const NetworkView &w, const NetworkView *g) const {
    peephole_output_loss problem = output_problem(w);
    if (!g) {
      calls.training.output_loss(problem, nullptr);
    } else {
      problem.label_smoothing = settings.label_smoothing;
      problem.consistency_loss = settings.consistency_loss;
      problem.teacher_weight = settings.teacher_weight;
      problem.num_taught = step.num_taught;
      problem.taught_symbols = step.taught_symbols;
      problem.taught_shares = step.taught_shares;
      problem.positions = positions;
      peephole_output_loss_gradients gradients{readout.d_dropped, calls.to(g->output.weight), calls.to(g->output.bias), nullptr, nullptr};
      if (copying.exists()) copying.fill(gradients, d_weights);
      calls.training.output_loss(problem, &gradients);
    }
    return double(*loss) + (g && coverage.exists() ? coverage.add(decoder.weights(), lengths, d_weights, copying.exists()) : 0);
  }

  void backward(const NetworkView &w, const NetworkView &g) {
    if (vectors.exists()) vectors.output_gradient(w, g, readout.dropped, readout.d_dropped);
    if (ctc.exists()) scale_attention(g);
    readout.backward(w, g);
    if (copying.exists()) copying.backward(w, g, readout.inputs, readout.d_inputs);
    calls.for_rows(rows, [&](int64_t row) {
      const int64_t at = positions[row];
      copy(d_states + at * H, readout.d_inputs + row * R, H);
      if (M) copy(d_contexts + at * M, readout.d_inputs + row * R + H, M);
    });
    if (is_stack()) {
      auto none = [](int64_t) { return typename RecurrentStack<T>::LastGradients{nullptr, nullptr}; };
      stack->backward(d_states, none, w.decoder, g.decoder, d_embedded);
    } else {
      decoder.backward(w, g, embedded, d_states, d_contexts, d_weights, d_embedded);
      if (n.input_feeding) readout.fed_weights_gradient(w, g);
      if (!is_language_model()) encoder_gradient(w, g);
    }
    // Of distinct inputs, `d_embedded` holds the parts of readout and attention only
    calls.for_rows(rows, [&](int64_t row) {
      T *to = d_embedded + positions[row] * E;
      const T *from = readout.d_inputs + row * R + H + M;
      target_inputs.inputs() ? copy(to, from, E) : calls.elements.add(to, from, nullptr, E);
      if (n.input_feeding) calls.elements.add(to, decoder.d_read_embedded() + positions[row] * E, nullptr, E);
      if (decoder.asked()) calls.elements.add(to, decoder.d_asked_embedded() + positions[row] * E, nullptr, E);
    });
    if (vectors.exists()) return vectors.embedding_gradient(w, g, target_mask, d_embedded);
    embed_gradient(g.target_embedding, rows, positions, previous, target_mask, d_embedded);
    if (target_inputs.inputs()) target_inputs.add_gradients(1, g.target_embedding);
  }

  void encoder_gradient(const NetworkView &w, const NetworkView &g) {
    if (ctc.exists()) ctc.backward(w, g, decoder.d_memory());
    stack->backward(decoder.d_memory(), [&](int64_t layer) { return decoder.d_last(layer); }, w.encoder, g.encoder, d_x);
    frontend.exists() ? frontend.backward(w, g, source_mask, d_x) : source_embedding_gradient(g.source_embedding);
    if (has_ngrams()) embed_gradient(g.ngrams, num_source_symbols, source_positions, source_ngrams, source_mask, d_x);
  }

  // The gradients that `output` found are those of the loss of attention alone.
  void scale_attention(const NetworkView &g) const {
    ctc.scale(readout.d_dropped, rows, H);
    ctc.scale(calls.to(g.output.weight), g.output.weight.rows, H);
    ctc.scale(calls.to(g.output.bias), g.output.weight.rows, 1);
    if (d_weights) ctc.scale(d_weights, B * U, stack->steps());
  }

  void source_embedding_gradient(const MatrixView &gradient) const {
    if (d_x) return embed_gradient(gradient, num_source_symbols, source_positions, source_symbols, source_mask, d_x);
    clear(calls.to(gradient), gradient.rows * gradient.columns);
    source_inputs.add_gradients(n.directions, gradient);
  }
};

}  // namespace
