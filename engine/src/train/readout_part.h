// r_t of all real target steps of a training step, (10), and its gradients. With input feeding, (62), the decoder computes
// them, and here are only the gradients of the weights.
#pragma once

#include "train/decoder_part.h"

namespace {

template <class T>
class ReadoutPart {
 public:
  ReadoutPart(const NetworkView &network, StepCalls<T> &step_calls, DecoderPart<T> &decoder_part)
      : n(network), calls(step_calls), decoder(decoder_part) {}

  // row_positions: b * U + t of each row. mask: the factors of r_t.
  void lay_out(Arena &arena, int64_t num_rows, const int64_t *row_positions, const Mask &mask, bool drops, bool learns) {
    rows = num_rows;
    positions = row_positions;
    drawn = mask;
    inputs = arena.take<T>(rows * R);
    readouts = arena.take<T>(rows * H);
    dropped = drops ? arena.take<T>(rows * H) : readouts;
    calls.need_linear(rows, n.readout.weight, learns);
    d_inputs = learns ? arena.take<T>(rows * R) : nullptr;
    d_dropped = learns ? arena.take<T>(rows * H) : nullptr;
  }

  // From `inputs` to `dropped`.
  void forward(const NetworkView &w) const {
    if (n.input_feeding) return copy_fed();
    calls.training.linear_forward(calls.linear(rows, inputs, w.readout.weight, &w.readout.bias, readouts));
    calls.for_rows(rows, [&](int64_t row) {
      T *r = readouts + row * H;
      calls.elements.tanh(r, r, H);
      if (dropped != readouts) calls.elements.multiply(dropped + row * H, r, drawn.of(positions[row]), H);
    });
  }

  // From `d_dropped` to `d_inputs`, before the decoder's gradients. With input feeding to what the decoder reads, and
  // `d_inputs` is 0, since the decoder adds its part.
  void backward(const NetworkView &w, const NetworkView &g) const {
    if (n.input_feeding) {
      clear(d_inputs, rows * R);
      return calls.for_rows(rows, [&](int64_t row) { copy(decoder.d_readouts() + positions[row] * H, d_dropped + row * H, H); });
    }
    calls.for_rows(rows, [&](int64_t row) {
      T *d = d_dropped + row * H;
      calls.elements.tanh_gradient(d, d, readouts + row * H, drawn.of(positions[row]), H);
    });
    calls.backward(linear(w), d_dropped, d_inputs, g.readout.weight, &g.readout.bias);
  }

  // With input feeding: the gradients of the weights, after the decoder's gradients.
  void fed_weights_gradient(const NetworkView &w, const NetworkView &g) const {
    calls.for_rows(rows, [&](int64_t row) { copy(d_dropped + row * H, decoder.d_readouts() + positions[row] * H, H); });
    calls.backward(linear(w), d_dropped, nullptr, g.readout.weight, &g.readout.bias);
  }

  T *inputs, *d_inputs;   // (rows, H + M + E): [s_t ; c_t ; E(y_{t-1})]
  T *dropped, *d_dropped; // (rows, H): r_t with dropout

 private:
  const NetworkView &n;
  StepCalls<T> &calls;
  DecoderPart<T> &decoder;
  const int64_t H = n.hidden_size, R = n.readout.weight.columns;
  int64_t rows = 0;
  const int64_t *positions = nullptr;
  Mask drawn;
  T *readouts;  // (rows, H): r_t

  peephole_linear linear(const NetworkView &w) const { return calls.linear(rows, inputs, w.readout.weight, nullptr, nullptr); }

  void copy_fed() const {
    calls.for_rows(rows, [&](int64_t row) {
      copy(readouts + row * H, decoder.readouts() + positions[row] * H, H);
      if (dropped != readouts) copy(dropped + row * H, decoder.fed() + positions[row] * H, H);
    });
  }
};

}  // namespace
