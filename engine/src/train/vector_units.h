// The units of real vectors in a training step, (51): the mean and the deviation of each component, of each source.
#pragma once

#include "train/step_parts.h"

namespace {

template <class T>
struct VectorUnits {
  int64_t size = 0;      // D
  T *mean = nullptr, *deviation = nullptr;  // (B, D)

  void lay_out(Arena &arena, int64_t batch, int64_t components) {
    size = components;
    mean = arena.take<T>(batch * size);
    deviation = arena.take<T>(batch * size);
  }

  T normalized(int64_t b, int64_t d, T y) const { return (y - mean[b * size + d]) / deviation[b * size + d]; }

  // Those of one source of `length` frames of F numbers; 1 in the place of a deviation of 0.
  void measure(int64_t b, const float *frames, int64_t length, int64_t frame_size) const {
    for (int64_t d = 0; d < size; ++d) {
      double sum = 0, square = 0;
      for (int64_t t = 0; t < length; ++t) sum += double(frames[t * frame_size + d]);
      const double middle = sum / double(length);
      for (int64_t t = 0; t < length; ++t) {
        const double distance = double(frames[t * frame_size + d]) - middle;
        square += distance * distance;
      }
      mean[b * size + d] = T(middle);
      deviation[b * size + d] = T(square > 0 ? std::sqrt(square / double(length)) : 1.0);
    }
  }
};

}  // namespace
