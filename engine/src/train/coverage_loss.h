// The coverage loss, (23), of a training step, and its gradient for the attention weights.
#pragma once

#include "train/step_parts.h"

namespace {

// Returns `factor` times Σ_i Σ_j min(α_ij, κ_ij), κ_i = α_1 + … + α_{i-1}, of one sequence with real steps i and places j,
// and adds the gradient; where the two are equal, each gets half of it. All arrays have rows of `width`; `coverage` is
// written.
template <class T>
inline double coverage_loss(const T *weights, int64_t steps, int64_t places, int64_t width, double factor, T *coverage, T *gradient) {
  double sum = 0;
  for (int64_t j = 0; j < places; ++j) {
    T before = 0;
    for (int64_t i = 0; i < steps; ++i) {
      const T alpha = weights[i * width + j];
      coverage[i * width + j] = before;
      sum += double(alpha < before ? alpha : before);
      before += alpha;
    }
    double later = 0;  // how often α_ij is in the smaller number κ of a later step
    for (int64_t i = steps - 1; i >= 0; --i) {
      const T alpha = weights[i * width + j], kappa = coverage[i * width + j];
      const double own = alpha < kappa ? 1 : alpha == kappa ? 0.5 : 0;
      gradient[i * width + j] += T(factor * (own + later));
      later += 1 - own;
    }
  }
  return factor * sum;
}

}  // namespace
