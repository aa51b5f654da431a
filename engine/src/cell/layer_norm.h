// Layer normalisation of the pre-activations of a gate, or of a cell, (44)-(46), for one row.
#pragma once

#include "simd/vector.h"

namespace {

constexpr float kNormEpsilon = 1e-5f;  // EPSILON of src/peephole/nn/schema.py

// A gain and a bias for each unit, 0 beyond the last.
struct NormWeights {
  const float *gain, *bias;
};

// z becomes (z - μ) / √(σ² + ε) gain + bias, with μ and σ² over `size` numbers. They lie in blocks of L, L the lanes of a
// vector, `stride` numbers from block to block; so do the gains and biases. z is 0 beyond the last.
inline void normalize(float *z, int64_t size, int64_t stride, const NormWeights &weights) {
  constexpr int L = kLanes<float>;
  const float inverse = 1 / float(size);
  Vector<float> sum{}, squares{};
  for (int64_t i = 0, at = 0; i < size; i += L, at += stride) sum += load(z + at);
  const Vector<float> mean = splat(sum_of<float>(sum) * inverse);
  for (int64_t i = 0, at = 0; i < size; i += L, at += stride) {
    float centred[L] = {};
    store(centred, load(z + at) - mean, size - i);  // 0 beyond the last
    squares = fma(load(centred), load(centred), squares);
    store(z + at, load(centred));
  }
  const Vector<float> scale = splat(1 / __builtin_sqrtf(sum_of<float>(squares) * inverse + kNormEpsilon));
  for (int64_t i = 0, at = 0; i < size; i += L, at += stride)
    store(z + at, fma(load(z + at) * scale, load(weights.gain + at), load(weights.bias + at)));
}

}  // namespace
