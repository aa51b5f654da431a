// Zoneout, (43), for L units of one row, L the lanes of a vector.
#pragma once

#include "simd/vector.h"

namespace {

// In prediction: returns z before + (1 - z) fresh.
template <class T>
[[gnu::always_inline]] inline Vector<T> keep_share(T z, Vector<T> before, Vector<T> fresh) {
  return fma(splat<T>(z), before, splat<T>(1 - z) * fresh);
}

// In training: returns taken computed + (1 - taken) before. `taken` is 0 or 1, drawn; where only a loss is measured 1 - z.
template <class T>
[[gnu::always_inline]] inline Vector<T> mixed_state(Vector<T> taken, Vector<T> computed, Vector<T> before) {
  return fma(taken, computed, (splat<T>(1) - taken) * before);
}

}  // namespace
