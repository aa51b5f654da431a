// SpecAugment: spans of steps and of features of the frames that are masked in training, src/peephole/nn/masking.py.
#pragma once

#include "train/step_parts.h"

namespace {

struct Span {
  int64_t first, end;
};

// The m-th mask of one example at a site, within [0, size): its width is uniform on 0 … widest, its place on those where it
// fits.
inline Span draw_span(int64_t example, int64_t site, int64_t m, int64_t size, int64_t widest) {
  auto uniform = [&](int64_t step) {
    return (double(random_bits(uint64_t(example), uint64_t(site), uint64_t(step), unit_key(0))) + 2147483648.0) / 4294967296.0;
  };
  const int64_t width = int64_t(uniform(2 * m) * double(widest + 1));
  const int64_t first = int64_t(uniform(2 * m + 1) * double(size - width + 1));
  return {first, first + width};
}

// Calls body(span) for every span of steps that is masked in a source of `length` steps.
template <class Body>
void for_time_masks(const peephole_trainer_settings &settings, const peephole_trainer_step &step, int64_t b, int64_t length,
                    Body body) {
  constexpr float kLargestShare = 0.2f;  // of a source that one mask may cover; in float, as the definition multiplies
  const int64_t widest = std::min(int64_t(float(length) * kLargestShare), settings.time_mask_size);
  for (int64_t m = 0; m < settings.time_masks; ++m) body(draw_span(step.examples[b], step.time_mask_site, m, length, widest));
}

// Likewise for the numbers of a frame.
template <class Body>
void for_feature_masks(const peephole_trainer_settings &settings, const peephole_trainer_step &step, int64_t b, int64_t size,
                       Body body) {
  const int64_t widest = std::min(size, settings.feature_mask_size);
  for (int64_t m = 0; m < settings.feature_masks; ++m) body(draw_span(step.examples[b], step.feature_mask_site, m, size, widest));
}

}  // namespace
