// The GRU cell for L units of one row, L the lanes of a vector, and its gradients.
#pragma once

#include "simd/vector.h"

namespace {

// Pre-activations of the gates r and z, and the parts of the candidate's: n_x = W_n x_t + b_n and n_h = U_n h_{t-1} + c_n.
// Activations take the places of r and z; n, the candidate, that of n_x.
template <class T>
struct GRUGates {
  Vector<T> r, z, n, n_h;
};

// Returns h_t = (1 - z) ⊙ n + z ⊙ h_{t-1} with n = tanh(n_x + r ⊙ n_h); leaves the activations.
template <class T>
[[gnu::always_inline]] inline Vector<T> gru_hidden_state(GRUGates<T> &gate, Vector<T> h_before) {
  gate.r = sigmoid<T>(gate.r);
  gate.z = sigmoid<T>(gate.z);
  gate.n = tanh<T>(fma(gate.r, gate.n_h, gate.n));
  return fma(gate.z, h_before - gate.n, gate.n);
}

// Returns the gradients of the pre-activations, n that of n_x, given those of h_t and the activations. `dh` becomes the
// part of the gradient of h_{t-1} that does not pass through them.
template <class T>
[[gnu::always_inline]] inline GRUGates<T> gru_gradient(Vector<T> &dh, const GRUGates<T> &gate, Vector<T> h_before) {
  const Vector<T> one = splat<T>(1);
  GRUGates<T> dz{};
  dz.n = dh * (one - gate.z) * fma(-gate.n, gate.n, one);
  dz.n_h = dz.n * gate.r;
  dz.r = dz.n * gate.n_h * (gate.r * (one - gate.r));
  dz.z = dh * (h_before - gate.n) * (gate.z * (one - gate.z));
  dh = dh * gate.z;
  return dz;
}

}  // namespace
