// From frames of numbers to the vectors that the encoder reads: `FrameFrontend` and `ConvolutionFrontend` of
// src/peephole/nn/frontends.py.
#pragma once

#include "predict/affine.h"

namespace {

// Sizes of the rows of numbers that a frontend multiplies; all 0 for symbols.
struct FrontendSizes {
  int64_t first_points = 0;  // of the kernels of the first convolution
  int64_t points = 0;        // of those of the others
  int64_t columns = 0;       // of what the projection reads
};

// Memory of one worker.
struct FrontendScratch {
  FrontendScratch(const NumberFormat &format, const FrontendSizes &sizes)
      : first_points(format, in_lanes<float>(sizes.first_points)), points(format, in_lanes<float>(sizes.points)),
        columns(format, in_lanes<float>(sizes.columns)) {}
  Operands first_points, points, columns;
  Buffer<float> before, after, line, made;
  Selection selection;
};

class Frontend {
 public:
  Frontend(const NumberFormat &format, const peephole::NetworkView &view)
      : size_(view.input_size), planes_(view.input_planes), stack_(view.frame_stack), num_layers_(view.convolution_layers),
        columns_(view.projection.weight.columns), layers_(new Affine[size_t(num_layers_)]) {
    read_padded(mean_, view.frame_mean);
    read_padded(scale_, view.frame_scale);
    for (int64_t l = 0; l < num_layers_; ++l)
      layers_[l].pack_transposed(format, view.convolutions[l], l ? view.convolutions[l - 1].weight.rows : planes_);
    if (num_layers_) {
      channels_ = view.convolutions[0].weight.rows;
      projection_.pack_transposed(format, view.projection, channels_);
    } else {
      projection_.pack(format, view.projection, 0, view.projection.weight.columns);
    }
  }
  Frontend(const Frontend &) = delete;
  Frontend &operator=(const Frontend &) = delete;
  ~Frontend() { delete[] layers_; }

  FrontendSizes sizes() const { return {9 * planes_, 9 * channels_, columns_}; }

  // The number of vectors of a source.
  int64_t steps(int64_t frames) const {
    if (!num_layers_) return (frames + stack_ - 1) / stack_;
    for (int64_t l = 0; l < num_layers_; ++l) frames = halved(frames);
    return frames;
  }

  // `x` gets the vectors of n sources, one source after the other; `steps` their numbers.
  void read(int64_t n, const float *const *sources, const int64_t *frames, FrontendScratch &s, Operands &x,
            int64_t *steps_of) const {
    int64_t total = 0;
    for (int64_t b = 0; b < n; ++b) total += steps_of[b] = steps(frames[b]);
    x.reserve(total);
    for (int64_t b = 0, at = 0; b < n; at += steps_of[b++]) {
      normalize(sources[b], frames[b], s.before);
      if (num_layers_)
        convolve(frames[b], s);
      else
        join(frames[b], steps_of[b], s);
      project(steps_of[b], at, s, x);
    }
  }

  static int64_t halved(int64_t size) { return (size + 1) / 2; }

 private:
  int64_t size_, planes_, stack_, num_layers_, columns_;  // size_: numbers in a frame
  int64_t channels_ = 1;
  Affine *layers_;
  Affine projection_;
  Buffer<float> mean_, scale_;

  void normalize(const float *frames, int64_t count, Buffer<float> &to) const {
    to.reserve(count * size_);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t f = 0; f < size_; ++f)
        *to.at(t * size_ + f) = (frames[t * size_ + f] - *mean_.at(f)) * *scale_.at(f);
  }

  void join(int64_t frames, int64_t steps, FrontendScratch &s) const {
    const int64_t width = stack_ * size_, padded = in_lanes<float>(width);
    s.columns.reserve(steps);
    s.line.reserve(padded);
    for (int64_t t = 0; t < steps; ++t) {
      int64_t count = frames - t * stack_ < stack_ ? frames - t * stack_ : stack_;
      std::memset(s.line.at(0), 0, size_t(padded) * sizeof(float));
      std::memcpy(s.line.at(0), s.before.at(t * width), size_t(count * size_) * sizeof(float));
      s.columns.put(t, s.line.at(0));
    }
  }

  // s.before: one source as (T, P, F), which becomes (T, F, P); the columns of the last layer's (T, F, C) become operands.
  void convolve(int64_t steps, FrontendScratch &s) const {
    int64_t features = size_ / planes_, channels = planes_;
    if (planes_ > 1) interleave(steps, features, s);
    for (int64_t l = 0; l < num_layers_; ++l) {
      apply_layer(l, steps, features, channels, l ? s.points : s.first_points, s);
      steps = halved(steps);
      features = halved(features);
      channels = channels_;
    }
    const int64_t width = features * channels, padded = in_lanes<float>(width);
    s.columns.reserve(steps);
    s.line.reserve(padded);
    std::memset(s.line.at(0), 0, size_t(padded) * sizeof(float));
    for (int64_t t = 0; t < steps; ++t) {
      std::memcpy(s.line.at(0), s.before.at(t * width), size_t(width) * sizeof(float));
      s.columns.put(t, s.line.at(0));
    }
  }

  // The planes of each point side by side, as channels.
  void interleave(int64_t steps, int64_t features, FrontendScratch &s) const {
    s.line.reserve(size_);
    for (int64_t t = 0; t < steps; ++t) {
      std::memcpy(s.line.at(0), s.before.at(t * size_), size_t(size_) * sizeof(float));
      for (int64_t p = 0; p < planes_; ++p)
        for (int64_t f = 0; f < features; ++f)
          *s.before.at(t * size_ + f * planes_ + p) = *s.line.at(p * features + f);
    }
  }

  // s.before (T, F, C) becomes the layer's output (⌈T/2⌉, ⌈F/2⌉, D).
  void apply_layer(int64_t l, int64_t steps, int64_t features, int64_t channels, Operands &points,
                   FrontendScratch &s) const {
    const int64_t columns = halved(features), width = layers_[l].width();
    s.after.reserve(halved(steps) * columns * channels_);
    s.made.reserve(columns * width);
    points.reserve(columns);
    for (int64_t t = 0; t < halved(steps); ++t) {
      s.selection.clear(columns);
      for (int64_t f = 0; f < columns; ++f) {
        gather(2 * t - 1, 2 * f - 1, steps, features, channels, s);
        points.put(f, s.line.at(0));
        s.selection.add(points, f);
      }
      layers_[l].apply(s.selection, s.made.at(0));
      float *to = s.after.at(t * columns * channels_);
      for (int64_t f = 0; f < columns; ++f)
        for (int64_t d = 0; d < channels_; ++d) {
          float sum = *s.made.at(f * width + d);
          *to++ = sum > 0 || sum != sum ? sum : 0;  // NaN stays NaN
        }
    }
    s.before.reserve(halved(steps) * columns * channels_);
    std::memcpy(s.before.at(0), s.after.at(0), size_t(halved(steps) * columns * channels_) * sizeof(float));
  }

  // The 3 x 3 points from (row, column) on, as (points, channels) in s.line.
  void gather(int64_t row, int64_t column, int64_t steps, int64_t features, int64_t channels, FrontendScratch &s) const {
    const int64_t padded = in_lanes<float>(9 * channels);
    s.line.reserve(padded);
    std::memset(s.line.at(0), 0, size_t(padded) * sizeof(float));
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 3; ++j) {
        if (row + i < 0 || row + i >= steps || column + j < 0 || column + j >= features) continue;
        std::memcpy(s.line.at((3 * i + j) * channels), s.before.at(((row + i) * features + column + j) * channels),
                    size_t(channels) * sizeof(float));
      }
  }

  void project(int64_t steps, int64_t at, FrontendScratch &s, Operands &x) const {
    s.selection.clear(steps);
    for (int64_t t = 0; t < steps; ++t) s.selection.add(s.columns, t);
    s.made.reserve(steps * projection_.width());
    projection_.apply(s.selection, s.made.at(0));
    for (int64_t t = 0; t < steps; ++t) x.put(at + t, s.made.at(t * projection_.width()));
  }
};

}  // namespace
