// A stack of recurrent layers over a ragged batch in one or both directions, (7), (18)-(20), (41), and its gradients.
#pragma once

#include <vector>

#include "file/network_view.h"
#include "train/step_parts.h"

namespace {

struct StackShape {
  int32_t cell, form;  // enum peephole_cell, enum peephole_form
  int64_t input_size, hidden_size, layers, directions;
  int64_t pyramid;  // layers above the first that read pairs of steps
  bool residual;
  double zoneout_hidden, zoneout_cell;
  bool layer_norm;
};

template <class T>
class RecurrentStack {
 public:
  RecurrentStack(const StackShape &sizes, StepCalls<T> &step_calls)
      : shape(sizes), calls(step_calls), layers(size_t(sizes.layers)), width(sizes.directions * sizes.hidden_size) {}

  // A number of steps that all layers of the pyramid can halve.
  int64_t rounded(int64_t steps) const {
    const int64_t unit = int64_t(1) << shape.pyramid;
    return (steps + unit - 1) / unit * unit;
  }

  // Takes the memory for a batch; num_steps is a rounded number. `distinct`: the inputs of each direction, which replace
  // x and its gradient; or NULL.
  void lay_out(Arena &arena, int64_t num_rows, int64_t num_steps, const int64_t *real, const peephole::DistinctInputs *distinct,
               bool drops, bool backward) {
    batch = num_rows;
    inputs = distinct;
    zeros = arena.template take<T>(batch * shape.hidden_size);
    int64_t steps = num_steps;
    for (size_t l = 0; l < layers.size(); ++l) {
      Layer &layer = layers[l];
      layer.mask = calls.take_mask(arena, drops && l, batch, steps, width);
      layer.dropped = drops && l ? arena.template take<T>(batch * steps * width) : nullptr;
      layer.joins = l && int64_t(l) <= shape.pyramid;
      layer.residual = shape.residual && l && !layer.joins;
      layer.input_size = l ? width : shape.input_size;
      layer.lengths = l ? layers[l - 1].lengths : real;
      if (layer.joins) {
        steps /= 2;
        layer.input_size *= 2;
        layer.lengths = layer.halved = arena.template take<int64_t>(batch);
      }
      layer.steps = steps;
      for (int64_t d = 0; d < shape.directions; ++d) take_direction(arena, l, d, backward);
      const bool copies = shape.directions > 1 || layer.residual;
      layer.output = copies ? arena.template take<T>(batch * steps * width) : layer.out[0];
      const bool own = backward && l + 1 < layers.size();
      layer.d_output = own ? arena.template take<T>(batch * steps * width) : nullptr;
    }
  }

  int64_t steps() const { return layers.back().steps; }
  const int64_t *lengths() const { return layers.back().lengths; }
  // (B, steps, D·H), 0 past each length.
  const T *output() const { return layers.back().output; }

  // Copies the last h, or c, of a layer, directions side by side, (B, D·H).
  void last_state(int64_t l, bool cell, T *to) const {
    const int64_t H = shape.hidden_size;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t d = 0; d < shape.directions; ++d)
        copy(to + b * width + d * H, (cell ? layers[l].c_last : layers[l].h_last)[d] + b * H, H);
  }

  // Draws the masks between the layers; `sites` has one for each layer above the first.
  void draw(const int64_t *examples, const int64_t *sites) const {
    for (size_t l = 1; l < layers.size(); ++l) calls.draw(layers[l].mask, batch, examples, sites[l - 1]);
  }

  // Draws the shares of zoneout; `sites` has two for each layer and direction, of h and of c. examples NULL: their means.
  void draw_shares(const int64_t *examples, const int64_t *sites) const {
    for (const Layer &layer : layers)
      for (int64_t d = 0; d < shape.directions; ++d)
        for (const Shares<T> *shares : {layer.taken_h + d, layer.taken_c + d})
          calls.draw(*shares, batch, examples, examples ? *sites++ : 0);
  }

  // x: (B, steps, I), not read if inputs are distinct. `weights`: of each layer and direction.
  void forward(const T *x, const peephole::LayerView *weights) {
    clear(zeros, batch * shape.hidden_size);
    for (size_t l = 0; l < layers.size(); ++l) {
      Layer &layer = layers[l];
      layer.input = l ? read_below(l) : x;
      for (int64_t b = 0; layer.joins && b < batch; ++b) layer.halved[b] = (layers[l - 1].lengths[b] + 1) / 2;
      for_directions([&](int64_t d) {
        calls.training.lstm_forward(problem(layer, d, weights + l * shape.directions), inputs_of(l, d));
      });
      if (layer.output != layer.out[0]) join(l);
    }
  }

  // Gradients of a layer's last states, (B, D·H); NULL: 0.
  struct LastGradients {
    const T *h, *c;
  };

  // d_output: (B, steps, D·H), of the top layer; d_last(l) are LastGradients. Writes the gradient of x, or that of the
  // distinct inputs.
  template <class Last>
  void backward(const T *d_output, Last d_last, const peephole::LayerView *weights, const peephole::LayerView *gradients, T *d_x) {
    for (size_t l = layers.size(); l-- > 0;) {
      Layer &layer = layers[l];
      const size_t first = l * shape.directions;
      for_directions([&](int64_t d) { backward(l, d, d_output, d_last(int64_t(l)), weights + first, gradients + first); });
      T *below = l ? layers[l - 1].d_output : d_x;
      if (!inputs_of(l, 0)) add_inputs(layer, d_output, below);
      d_output = below;
    }
  }

 private:
  struct Layer {
    int64_t input_size, steps;
    const int64_t *lengths;
    int64_t *halved;  // (B)  lengths, of a layer that joins
    bool joins, residual;
    Mask mask;        // of the output of the layer below
    T *dropped;       // (B, steps below, D·H): it with dropout
    const T *input;   // (B, steps, I)
    T *output;        // (B, steps, D·H)
    T *d_output;      // its gradient; the top layer's is the caller's
    T *out[kMostDirections], *h_last[kMostDirections], *c_last[kMostDirections];  // (B, steps, H), (B, H), (B, H)
    Shares<T> taken_h[kMostDirections], taken_c[kMostDirections];
    char *saved[kMostDirections];
    T *d_out[kMostDirections], *d_h_last[kMostDirections], *d_c_last[kMostDirections], *d_input[kMostDirections];
    T *d_first[kMostDirections];  // (2, B, H): gradients of h0 and c0, which are not used
  };

  StackShape shape;
  StepCalls<T> &calls;
  std::vector<Layer> layers;
  int64_t width, batch = 0;
  T *zeros = nullptr;  // (B, H)
  const peephole::DistinctInputs *inputs = nullptr;  // of the lowest layer, for each direction

  bool has_cell_state() const { return shape.cell == PEEPHOLE_LSTM; }
  bool directions_run_together() const { return shape.directions == 2 && calls.settings.threads == 2; }

  const peephole::DistinctInputs *inputs_of(size_t l, int64_t d) const { return l || !inputs ? nullptr : inputs + d; }

  template <class Run>
  void for_directions(Run run) const {
    if (directions_run_together()) return for_tasks(2, 2, [&](int64_t d, int) { run(d); });
    for (int64_t d = 0; d < shape.directions; ++d) run(d);
  }

  void take_direction(Arena &arena, size_t l, int64_t d, bool backward) {
    Layer &layer = layers[l];
    const int64_t H = shape.hidden_size, rows = batch * layer.steps;
    layer.out[d] = arena.template take<T>(rows * H);
    layer.h_last[d] = arena.template take<T>(batch * H);
    layer.c_last[d] = arena.template take<T>(batch * H);
    layer.taken_h[d] = calls.take_shares(arena, shape.zoneout_hidden, batch, layer.steps, H);
    layer.taken_c[d] = calls.take_shares(arena, has_cell_state() ? shape.zoneout_cell : 0, batch, layer.steps, H);
    peephole_lstm sizes = problem(layer, d, nullptr);
    layer.saved[d] = arena.template take<char>(int64_t(peephole_lstm_saved_bytes(&sizes)));
    calls.need(peephole::lstm_scratch_bytes(sizes, false, inputs_of(l, d)));
    if (!backward) return;
    calls.need(peephole::lstm_scratch_bytes(sizes, true, inputs_of(l, d)));
    layer.d_out[d] = shape.directions > 1 ? arena.template take<T>(rows * H) : nullptr;
    layer.d_h_last[d] = arena.template take<T>(batch * H);
    layer.d_c_last[d] = arena.template take<T>(batch * H);
    layer.d_first[d] = arena.template take<T>(2 * batch * H);
    layer.d_input[d] = inputs_of(l, d) ? nullptr : arena.template take<T>(rows * layer.input_size);
  }

  peephole_lstm problem(const Layer &layer, int64_t d, const peephole::LayerView *weights) const {
    peephole_lstm p{};
    p.scalar = calls.settings.scalar;
    p.operand = calls.settings.operand;
    p.cell = shape.cell;
    p.form = shape.form;
    p.zoneout = zoneout_of(layer.taken_h[d], layer.taken_c[d]);
    p.layer_norm = shape.layer_norm;
    p.reverse = d == 1;
    p.threads = directions_run_together() ? 1 : calls.settings.threads;
    p.batch = batch;
    p.steps = layer.steps;
    p.input_size = layer.input_size;
    p.hidden_size = shape.hidden_size;
    if (!weights) return p;
    p.lengths = layer.lengths;
    p.x = layer.input;
    p.h0 = zeros;
    p.c0 = has_cell_state() ? zeros : nullptr;
    const peephole::LayerView &own = weights[d];
    p.weight_input = own.input.numbers;
    p.weight_hidden = own.hidden.numbers;
    p.bias = own.bias.numbers;
    p.bias_hidden = own.bias_hidden.numbers;
    p.weight_peephole = shape.form == PEEPHOLE_FULL ? own.peephole.numbers : own.diagonal.numbers;
    p.taken_h = layer.taken_h[d].numbers;
    p.taken_c = layer.taken_c[d].numbers;
    p.gain = own.gain.numbers;
    p.cell_gain = own.cell_gain.numbers;
    p.cell_bias = own.cell_bias.numbers;
    p.out = layer.out[d];
    p.h_last = layer.h_last[d];
    p.c_last = has_cell_state() ? layer.c_last[d] : nullptr;
    p.saved = layer.saved[d];
    p.scratch = calls.scratch[d];
    return p;
  }

  // Calls body(position) for every real step of a layer, and clear(position, count) for the steps past each length.
  template <class Body, class Rest>
  void for_positions(const Layer &layer, Body body, Rest rest) const {
    calls.for_sequences(batch, [&](int64_t b) {
      const int64_t first = b * layer.steps, end = first + layer.lengths[b];
      for (int64_t position = first; position < end; ++position) body(position);
      rest(end, first + layer.steps - end);
    });
  }

  // The input of a layer above the first: the output below with dropout; two steps of it are one of a layer that joins.
  const T *read_below(size_t l) const {
    const Layer &layer = layers[l], &below = layers[l - 1];
    if (!layer.mask.numbers) return below.output;
    for_positions(
        below,
        [&](int64_t at) { calls.elements.multiply(layer.dropped + at * width, below.output + at * width, layer.mask.of(at), width); },
        [&](int64_t at, int64_t count) { clear(layer.dropped + at * width, count * width); });
    return layer.dropped;
  }

  // (20), (41)
  void join(size_t l) const {
    const Layer &layer = layers[l];
    const int64_t H = shape.hidden_size;
    for_positions(
        layer,
        [&](int64_t at) {
          T *to = layer.output + at * width;
          for (int64_t d = 0; d < shape.directions; ++d) copy(to + d * H, layer.out[d] + at * H, H);
          if (layer.residual) calls.elements.add(to, layers[l - 1].output + at * width, nullptr, width);
        },
        [&](int64_t at, int64_t count) { clear(layer.output + at * width, count * width); });
  }

  void backward(size_t l, int64_t d, const T *d_output, LastGradients last, const peephole::LayerView *weights,
                const peephole::LayerView *gradients) const {
    const Layer &layer = layers[l];
    const int64_t H = shape.hidden_size;
    auto part = [&](T *to, const T *from, int64_t row) { copy(to + row * H, from + row * width + d * H, H); };
    for (int64_t b = 0; last.h && b < batch; ++b) part(layer.d_h_last[d], last.h, b);
    for (int64_t b = 0; last.c && has_cell_state() && b < batch; ++b) part(layer.d_c_last[d], last.c, b);
    for (int64_t b = 0; layer.d_out[d] && b < batch; ++b)
      for (int64_t t = 0; t < layer.lengths[b]; ++t) part(layer.d_out[d], d_output, b * layer.steps + t);
    const peephole::LayerView &to = gradients[d];
    peephole_lstm_gradients g{};
    g.out = layer.d_out[d] ? layer.d_out[d] : d_output;
    g.h_last = last.h ? layer.d_h_last[d] : zeros;
    g.c_last = !has_cell_state() ? nullptr : last.c ? layer.d_c_last[d] : zeros;
    g.x = layer.d_input[d];
    g.h0 = layer.d_first[d];
    g.c0 = has_cell_state() ? layer.d_first[d] + batch * H : nullptr;
    g.weight_input = calls.to(to.input);
    g.weight_hidden = calls.to(to.hidden);
    g.bias = calls.to(to.bias);
    g.bias_hidden = calls.to(to.bias_hidden);
    g.weight_peephole = calls.to(shape.form == PEEPHOLE_FULL ? to.peephole : to.diagonal);
    g.gain = calls.to(to.gain);
    g.cell_gain = calls.to(to.cell_gain);
    g.cell_bias = calls.to(to.cell_bias);
    calls.training.lstm_backward(problem(layer, d, weights), g, inputs_of(l, d));
  }

  // The gradient of the output below, or of x: the sum of both directions', through dropout; and that of (41).
  void add_inputs(const Layer &layer, const T *d_output, T *below) const {
    const int64_t size = layer.input_size;
    calls.for_sequences(batch, [&](int64_t b) {
      for (int64_t t = 0; t < layer.steps; ++t) {
        const int64_t at = b * layer.steps + t;
        T *sum = layer.d_input[0] + at * size;
        if (t < layer.lengths[b] && shape.directions > 1) calls.elements.add(sum, layer.d_input[1] + at * size, nullptr, size);
        // Of a layer that joins, two rows of the output below
        for (int64_t part = 0; part < (layer.joins ? 2 : 1); ++part) {
          const int64_t row = layer.joins ? 2 * at + part : at, columns = layer.joins ? width : size;
          calls.elements.multiply(below + row * columns, sum + part * columns, layer.mask.of(row), columns);
        }
        if (layer.residual) calls.elements.add(below + at * size, d_output + at * width, nullptr, width);
      }
    });
  }
};

}  // namespace
