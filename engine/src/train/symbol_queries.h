// What attention reads of the symbols fed in a training step: W_y E(y_{t-1}) of (67) at all target steps, and its gradients.
#pragma once

#include "train/step_parts.h"

namespace {

template <class T>
class SymbolQueries {
 public:
  SymbolQueries(const NetworkView &network, StepCalls<T> &step_calls) : n(network), calls(step_calls) {}
  bool exists() const { return n.weight_symbol.rows > 0; }

  void lay_out(Arena &arena, int64_t batch, int64_t steps, bool learns) {
    if (!exists()) return;
    B = batch;
    U = steps;
    asked = arena.take<T>(B * U * A);
    d_asked = learns ? arena.take<T>(B * U * A) : nullptr;
    d_embedded = learns ? arena.take<T>(B * U * E) : nullptr;
    calls.need_linear(B * U, n.weight_symbol, learns);
  }

  // embedded: (B, U, E). Clears its positions past the lengths, since the gradient of W_y sums over all positions.
  void forward(const NetworkView &w, const int64_t *lengths, T *embedded) const {
    if (!exists()) return;
    for (int64_t b = 0; b < B; ++b) clear(embedded + (b * U + lengths[b]) * E, (U - lengths[b]) * E);
    calls.training.linear_forward(calls.linear(B * U, embedded, w.weight_symbol, nullptr, asked));
  }

  // From the gradient in `d_asked` to those of W_y and, in `d_embedded`, of the vectors.
  void backward(const NetworkView &w, const NetworkView &g, const T *embedded) const {
    if (!exists()) return;
    calls.backward(calls.linear(B * U, embedded, w.weight_symbol, nullptr, nullptr), d_asked, d_embedded, g.weight_symbol, nullptr);
  }

  T *asked = nullptr, *d_asked = nullptr;  // (B, U, A); NULL: attention does not read the symbol
  T *d_embedded = nullptr;                 // (B, U, E)

 private:
  const NetworkView &n;
  StepCalls<T> &calls;
  const int64_t A = n.weight_symbol.rows, E = n.embedding_size;
  int64_t B = 0, U = 0;
};

}  // namespace
