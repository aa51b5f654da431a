// What training and prediction of real vectors share: the units of a source, (51), and the deviations of (53), (54).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

constexpr double kSmallestDeviation = 1e-3;  // as in src/peephole/nn/vector_outputs.py

// log(1 + e^x) and its derivative.
struct Softplus {
  double value, slope;
  explicit Softplus(double x) {
    const double power = std::exp(-std::abs(x));
    value = std::max(x, 0.0) + std::log1p(power);  // NaN stays
    slope = (x < 0 ? power : 1) / (1 + power);
  }
};

// Writes the mean and the standard deviation of the first D components of `length` frames of F numbers; 1 in the place of
// a deviation of 0.
template <class T>
inline void measure_units(const float *frames, int64_t length, int64_t frame_size, int64_t size, T *mean, T *deviation) {
  for (int64_t d = 0; d < size; ++d) {
    double sum = 0, square = 0;
    for (int64_t t = 0; t < length; ++t) sum += double(frames[t * frame_size + d]);
    const double middle = sum / double(length);
    for (int64_t t = 0; t < length; ++t) {
      const double distance = double(frames[t * frame_size + d]) - middle;
      square += distance * distance;
    }
    mean[d] = T(middle);
    deviation[d] = T(square > 0 ? std::sqrt(square / double(length)) : 1.0);
  }
}

}  // namespace
