// Zoneout at prediction, (43), for L units of one row, L the lanes of a vector.
#pragma once

#include "simd/vector.h"

namespace {

// Returns z before + (1 - z) fresh.
template <class T>
[[gnu::always_inline]] inline Vector<T> keep_share(T z, Vector<T> before, Vector<T> fresh) {
  return fma(splat<T>(z), before, splat<T>(1 - z) * fresh);
}

}  // namespace
