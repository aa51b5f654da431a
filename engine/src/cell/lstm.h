// The LSTM cell, (1)-(6), for L units of one row, L the lanes of a vector, and its gradients. The layer computes the
// products W x, W h and W c; these functions do the rest.
#pragma once

#include "peephole.h"
#include "simd/vector.h"

namespace {

constexpr int kGates = 4;  // i, f, g, o

// Pre-activations of the gates, replaced by their activations.
template <class T>
struct Gates {
  Vector<T> i, f, g, o;
};

// Peephole connections of L units.
template <class T>
struct Peepholes {
  int32_t form;       // enum peephole_form
  const T *products;  // full: W_ci c_{t-1} of L units, then W_cf c_{t-1}
  const T *diagonals[3];  // diagonal: W_ci, W_cf, W_co

  bool full() const { return form == PEEPHOLE_FULL; }
  bool diagonal() const { return form == PEEPHOLE_DIAGONAL; }
  Vector<T> weight(int gate) const { return load(diagonals[gate]); }
};

// Returns c_t. Leaves i, f, g and the pre-activation of o, which lacks W_co c_t if the peepholes are full.
template <class T>
[[gnu::always_inline]] inline Vector<T> cell_state(Gates<T> &gate, Vector<T> c_before, const Peepholes<T> &peephole) {
  if (peephole.full()) {
    gate.i += load(peephole.products);
    gate.f += load(peephole.products + kLanes<T>);
  }
  if (peephole.diagonal()) {
    gate.i = fma(peephole.weight(0), c_before, gate.i);
    gate.f = fma(peephole.weight(1), c_before, gate.f);
  }
  gate.f = sigmoid<T>(gate.f);                              // (1)
  gate.i = sigmoid<T>(gate.i);                              // (2)
  gate.g = tanh<T>(gate.g);                                 // (3)
  Vector<T> c = fma(gate.f, c_before, gate.i * gate.g);     // (4)
  if (peephole.diagonal()) gate.o = fma(peephole.weight(2), c, gate.o);
  return c;
}

// Returns h_t. `o` is the pre-activation of the output gate, and becomes the gate.
template <class T>
[[gnu::always_inline]] inline Vector<T> hidden_state(Vector<T> &o, Vector<T> c) {
  o = sigmoid<T>(o);       // (5)
  return o * tanh<T>(c);   // (6)
}

// Gradients of (6) and (5). Adds to `dc`, the gradient of c_t, and returns that of the pre-activation of o.
template <class T>
[[gnu::always_inline]] inline Vector<T> hidden_state_gradient(Vector<T> dh, Vector<T> o, Vector<T> c, Vector<T> &dc) {
  const Vector<T> one = splat<T>(1), tanh_c = tanh<T>(c);
  dc = fma(dh * o, fma(-tanh_c, tanh_c, one), dc);
  return dh * tanh_c * (o * (one - o));
}

// Gradients of (4), (3), (2), (1) without peepholes. `dc`, the gradient of c_t, becomes that of c_{t-1}; returns those of
// the pre-activations of i, f and g.
template <class T>
[[gnu::always_inline]] inline Gates<T> cell_state_gradient(Vector<T> &dc, const Gates<T> &gate, Vector<T> c_before) {
  const Vector<T> one = splat<T>(1);
  Gates<T> dz{};
  dz.i = dc * gate.g * (gate.i * (one - gate.i));
  dz.f = dc * c_before * (gate.f * (one - gate.f));
  dz.g = dc * gate.i * fma(-gate.g, gate.g, one);
  dc = dc * gate.f;
  return dz;
}

}  // namespace
