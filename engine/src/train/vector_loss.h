// The losses of one component of a vector, (53)-(55), and their gradients by the numbers that the output layer gives.
#pragma once

#include "cell/real_vectors.h"

namespace {

constexpr double kHalfLogOfTwoPi = 0.91893853320467274178;

// Returns -log N(z; μ, σ²), (53), of μ and ρ, which lie `stride` apart, and replaces them by its gradients.
template <class T>
inline double gaussian_loss(T *numbers, int64_t stride, double z) {
  const Softplus rho(double(numbers[stride]));
  const double deviation = rho.value + kSmallestDeviation, error = (z - double(numbers[0])) / deviation;
  numbers[0] = T(-error / deviation);
  numbers[stride] = T((1 - error * error) / deviation * rho.slope);
  return error * error / 2 + std::log(deviation) + kHalfLogOfTwoPi;
}

// Returns (55) of Q numbers ρ, which lie `stride` apart, and replaces them by its gradients. `scratch` has 2 Q numbers.
template <class T>
inline double quantile_loss(T *numbers, int64_t stride, int64_t count, double z, double *scratch) {
  const int64_t middle = count / 2;
  double *slopes = scratch, *shares = scratch + count;  // dq_k / dρ_k beside the middle; d loss / dq_k
  double loss = 0;
  auto pinball = [&](int64_t k, double q) {
    const double level = double(k + 1) / double(count + 1), error = z - q;
    loss += std::max(level * error, (level - 1) * error);
    shares[k] = (error > 0 ? 0.0 : error < 0 ? 1.0 : 0.5) - level;
  };
  auto step = [&](int64_t k) {
    const Softplus rho(double(numbers[k * stride]));
    slopes[k] = rho.slope;
    return rho.value;
  };
  const double median = double(numbers[middle * stride]), scale = 2 / double(count);
  pinball(middle, median);
  double q = median;
  for (int64_t k = middle + 1; k < count; ++k) pinball(k, q += step(k));  // (54)
  q = median;
  for (int64_t k = middle; k-- > 0;) pinball(k, q -= step(k));
  double above = 0, below = 0;
  for (int64_t k = count; --k > middle;) {
    above += shares[k];
    numbers[k * stride] = T(scale * above * slopes[k]);
  }
  for (int64_t k = 0; k < middle; ++k) {
    below += shares[k];
    numbers[k * stride] = T(-scale * below * slopes[k]);
  }
  numbers[middle * stride] = T(scale * (above + shares[middle] + below));
  return scale * loss;
}

}  // namespace
