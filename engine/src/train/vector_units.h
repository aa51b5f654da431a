// The units of real vectors in a training step, (51): the mean and the deviation of each component, of each source.
#pragma once

#include "cell/real_vectors.h"
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

  void measure(int64_t b, const float *frames, int64_t length, int64_t frame_size) const {
    measure_units(frames, length, frame_size, size, mean + b * size, deviation + b * size);
  }
};

}  // namespace
