// The GRU cell for L units of one row, L the lanes of a vector.
#pragma once

#include "simd/vector.h"

namespace {

// Returns h_t = (1 - z) ⊙ n + z ⊙ h_{t-1} with n = tanh(n_x + r ⊙ n_h), given the pre-activations of the gates r and z and
// n_x = W_n x_t + b_n, n_h = U_n h_{t-1} + c_n.
template <class T>
[[gnu::always_inline]] inline Vector<T> gru_hidden_state(Vector<T> r, Vector<T> z, Vector<T> n_x, Vector<T> n_h,
                                                         Vector<T> h_before) {
  r = sigmoid<T>(r);
  z = sigmoid<T>(z);
  Vector<T> n = tanh<T>(fma(r, n_h, n_x));
  return fma(z, h_before - n, n);
}

}  // namespace
