// Scheduled sampling, (14), in a training step: the choice of the model's own symbols.
#pragma once

#include "train/copy_part.h"
#include "train/step_parts.h"

namespace {

template <class T>
class SymbolChoice {
 public:
  SymbolChoice(const NetworkView &network, StepCalls<T> &step_calls, const CopyPart<T> &copy_part)
      : n(network), calls(step_calls), copying(copy_part) {}

  // Whether a step feeds the model's own symbols; the functions below are for such steps.
  bool exists() const { return step != nullptr; }

  void lay_out(Arena &arena, const peephole_trainer_step &given, bool learns) {
    step = learns && given.sampling_probability > 0 ? &given : nullptr;
    if (!step) return;
    const int64_t threads = calls.settings.threads, parts = std::min(threads, given.batch);
    most = (given.batch + parts - 1) / parts;
    drawn = arena.take<int64_t>(threads * most);
    inputs = arena.take<T>(threads * most * R);
    readouts = arena.take<T>(threads * most * H);
    logits = arena.take<T>(threads * most * V);
    gates = arena.take<T>(threads * most);
    scratch_bytes = 0;
    need(n.readout);
    need(n.output);
    if (copying.exists()) need(gate_layer(n));
    if (n.weight_symbol.rows) need({n.weight_symbol, {}});
    scratch_bytes = (scratch_bytes + 63) / 64 * 64;
    scratch = arena.take<char>(int64_t(scratch_bytes) * threads);
  }

  // Of some positions b * U + t on the thread `worker`: where it is drawn for the next one, calls feed(next, symbol) with the
  // most probable symbol. read(position, to): what is predicted from, (H + M + E). `weights`: those of attention, (B, U, S),
  // of a network that copies.
  template <class Read, class Feed>
  void run(const NetworkView &w, const int64_t *positions, int64_t count, int worker, const Mask &readout_mask, const T *weights,
           Read read, Feed feed) const {
    const int64_t first = worker * most;
    const int64_t *at = drawn + first, size = find(positions, count, worker);
    if (!size) return;
    T *x = inputs + first * R, *r = readouts + first * H, *scores = logits + first * V, *gate = gates + first;
    for (int64_t i = 0; i < size; ++i) read(at[i], x + i * R);
    multiply(size, w.readout, x, r, worker);
    for (int64_t i = 0; i < size; ++i) {
      calls.elements.tanh(r + i * H, r + i * H, H);
      calls.elements.multiply(r + i * H, r + i * H, readout_mask.of(at[i]), H);
    }
    multiply(size, w.output, r, scores, worker);
    if (copying.exists()) multiply(size, gate_layer(w), x, gate, worker);
    for (int64_t i = 0; i < size; ++i) {
      T *row = scores + i * V;
      feed(at[i] + 1, copying.exists() ? copying.most_probable(at[i], row, gate[i], weights) : most_probable(row, V));
    }
  }

  // For the symbols that `run` fed after the same positions: writes W_y E(y) of (67) to `asked` (B, U, A). embedded: (B, U, E).
  void ask(const NetworkView &w, const int64_t *positions, int64_t count, int worker, const T *embedded, T *asked) const {
    const int64_t E = w.weight_symbol.columns, first = worker * most, size = find(positions, count, worker);
    const int64_t *at = drawn + first;
    T *x = inputs + first * R, *products = readouts + first * H;
    if (!size) return;
    for (int64_t i = 0; i < size; ++i) copy(x + i * E, embedded + (at[i] + 1) * E, E);
    multiply(size, {w.weight_symbol, {}}, x, products, worker);
    for (int64_t i = 0; i < size; ++i) copy(asked + (at[i] + 1) * H, products + i * H, H);
  }

 private:
  const NetworkView &n;
  StepCalls<T> &calls;
  const CopyPart<T> &copying;
  const peephole_trainer_step *step = nullptr;
  const int64_t H = n.hidden_size, R = n.readout.weight.columns, V = n.output.weight.rows;
  // For each thread, of at most `most` rows of one step
  int64_t most, *drawn;                       // their positions
  T *inputs, *readouts, *logits, *gates;      // (…, R), (…, H), (…, V), (…)
  char *scratch;
  size_t scratch_bytes;

  // The positions after which the model's own symbol is fed, in `drawn`; returns their number.
  int64_t find(const int64_t *positions, int64_t count, int worker) const {
    const int64_t U = step->target_steps;
    int64_t *at = drawn + worker * most, size = 0;
    for (int64_t i = 0; i < count; ++i)
      if (draws(positions[i] / U, positions[i] % U + 1)) at[size++] = positions[i];
    return size;
  }

  // Whether the symbol that step t of a sequence is fed is the model's own.
  bool draws(int64_t b, int64_t t) const {
    const uint64_t site = uint64_t(step->sites[n.encoder_layers + n.decoder_layers + 1]);
    const int32_t bits = random_bits(uint64_t(step->examples[b]), site, uint64_t(t), unit_key(0));
    return (double(bits) + 2147483648.0) / 4294967296.0 < step->sampling_probability;
  }

  static peephole::LinearView gate_layer(const NetworkView &w) { return {w.gate_weight, w.gate_bias}; }

  // A product of some rows of one step, on the thread that computes them.
  peephole_linear product(int64_t rows, const peephole::LinearView &layer, const T *from, T *to) const {
    peephole_linear problem = calls.linear(rows, from, layer.weight, &layer.bias, to);
    problem.threads = 1;
    return problem;
  }
  void need(const peephole::LinearView &layer) {
    const peephole_linear problem = product(most, layer, nullptr, nullptr);
    scratch_bytes = std::max(scratch_bytes, peephole_linear_scratch_bytes(&problem, 0));
  }
  void multiply(int64_t rows, const peephole::LinearView &layer, const T *from, T *to, int worker) const {
    peephole_linear problem = product(rows, layer, from, to);
    problem.scratch = scratch + size_t(worker) * scratch_bytes;
    calls.training.linear_forward(problem);
  }
};

}  // namespace
