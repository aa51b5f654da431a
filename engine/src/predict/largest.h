// The largest of many numbers.
#pragma once

#include "simd/vector.h"

namespace {

// Whether any number of the vector is larger.
inline bool any_above(Vector<float> v, float limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(v, splat(limit), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(v, splat(limit), _CMP_GT_OQ)) != 0;
#else
  for (int i = 0; i < kLanes<float>; ++i)
    if (v[i] > limit) return true;
  return false;
#endif
}

inline int64_t find_largest(const float *numbers, int64_t n, int64_t k, int64_t *indices) {
  constexpr int L = kLanes<float>;
  float limit = -__builtin_inff();
  int64_t count = 0;
  for (int64_t first = 0; first < n; first += L) {
    if (first + L <= n && !any_above(load(numbers + first), limit)) continue;
    for (int64_t i = first; i < n && i < first + L; ++i) {
      if (!(numbers[i] > limit)) continue;
      int64_t at = count < k ? count++ : k - 1;
      for (; at > 0 && numbers[indices[at - 1]] < numbers[i]; --at) indices[at] = indices[at - 1];
      indices[at] = i;
      if (count == k) limit = numbers[indices[k - 1]];
    }
  }
  return count;
}

}  // namespace
