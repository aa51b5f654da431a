// From frames of numbers to the vectors that the encoder reads, and the gradients of the weights: `FrameFrontend` and
// `ConvolutionFrontend` of src/peephole/nn/frontends.py.
//
// The steps of all sources lie one after the other, without padding, in arrays (steps, features, channels). A convolution
// multiplies the 3 x 3 points around each of its outputs, of all channels, which are copied side by side for some steps at
// a time; in memory its kernels have the channels of a point together, in a model's file the points of a channel.
#pragma once

#include <vector>

#include "train/frame_masks.h"
#include "train/vector_units.h"

namespace {

template <class T>
class FrontendPart {
 public:
  FrontendPart(const NetworkView &network, StepCalls<T> &step_calls)
      : n(network), calls(step_calls), levels(size_t(exists() ? n.convolution_layers + 1 : 0)) {
    if (!exists()) return;
    levels[0].features = n.input_size / n.input_planes;
    levels[0].channels = n.input_planes;
    for (size_t l = 1; l < levels.size(); ++l) {
      levels[l].features = halved(levels[l - 1].features);
      levels[l].channels = n.convolutions[l - 1].weight.rows;
    }
  }

  bool exists() const { return n.input_size > 0; }

  // The number of vectors of a source of so many frames.
  int64_t steps(int64_t frames) const {
    if (!n.convolution_layers) return (frames + n.frame_stack - 1) / n.frame_stack;
    for (int64_t l = 0; l < n.convolution_layers; ++l) frames = halved(frames);
    return frames;
  }

  // Takes the memory for a batch; num_steps: those of x, at least the vectors of each source.
  void lay_out(Arena &arena, const peephole_trainer_step &given, int64_t num_steps, bool learns) {
    B = given.batch;
    S = num_steps;
    vector_lengths = arena.take<int64_t>(B);
    int64_t most_columns = 0, most_weights = n.projection.weight.rows * n.projection.weight.columns;
    for (size_t l = 0; l < levels.size(); ++l) {
      Level &level = levels[l];
      level.steps = 0;
      for (int64_t b = 0; b < B; ++b) level.steps += stored_steps(l, given.source_lengths[b]);
      level.first = arena.take<int64_t>(B + 1);
      level.z = arena.take<T>(level.steps * level.width());
      level.d_z = learns && l ? arena.take<T>(level.steps * level.width()) : nullptr;
      if (!l) continue;
      const MatrixView &kernels = n.convolutions[l - 1].weight;
      level.chunk = std::min(level.steps, std::max(int64_t(1), kMostColumns / (level.features * kernels.columns)));
      level.kernels = arena.take<T>(kernels.rows * kernels.columns);
      most_columns = std::max(most_columns, level.chunk * level.features * kernels.columns);
      most_weights = std::max(most_weights, kernels.rows * kernels.columns);
      calls.need_linear(level.chunk * level.features, kernels, learns);
    }
    vectors = levels.back().steps / (n.convolution_layers ? 1 : n.frame_stack);
    projection = arena.take<T>(n.projection.weight.rows * n.projection.weight.columns);
    projected = arena.take<T>(vectors * E);
    columns = arena.take<T>(most_columns);
    calls.need_linear(vectors, n.projection.weight, learns);
    if (!learns) return;
    d_columns = arena.take<T>(levels.size() > 2 ? most_columns : 0);
    for (T *&weights : d_weights) weights = arena.take<T>(most_weights);
    d_bias = arena.take<T>(levels.back().channels);
  }

  // The number of vectors of each source, (B).
  const int64_t *lengths() const { return vector_lengths; }

  // Reads the frames of checked arguments. `units`: their first numbers are read in these, (51), or NULL; `masks`: some of
  // them are masked at random.
  void read(const peephole_trainer_step &given, const NetworkView &w, const VectorUnits<T> *units, bool masks) {
    for (size_t l = 0; l < levels.size(); ++l) {
      int64_t *first = levels[l].first, at = 0;
      for (int64_t b = 0; b < B; first[++b] = at) {
        first[b] = at;
        at += stored_steps(l, given.source_lengths[b]);
      }
    }
    for (int64_t b = 0; b < B; ++b) vector_lengths[b] = steps(given.source_lengths[b]);
    calls.for_sequences(B, [&](int64_t b) { normalize(given, w, units, b, masks); });
  }

  // x (B, S, E): the vectors, with dropout. Not written past each length.
  void forward(const NetworkView &w, const Mask &mask, T *x) {
    for (size_t l = 1; l < levels.size(); ++l) convolve(w.convolutions[l - 1], l);
    exchange(calls.in(w.projection.weight), projection, n.projection.weight.rows, channels_read(), features_read());
    calls.training.linear_forward(calls.linear(vectors, levels.back().z, in_memory(w.projection, projection), &w.projection.bias, projected));
    for_vectors([&](int64_t at, int64_t vector) { calls.elements.multiply(x + at * E, projected + vector * E, mask.of(at), E); });
  }

  // Writes the gradients of all weights, from that of x.
  void backward(const NetworkView &w, const NetworkView &g, const Mask &mask, const T *d_x) {
    for_vectors([&](int64_t at, int64_t vector) { calls.elements.multiply(projected + vector * E, d_x + at * E, mask.of(at), E); });
    Level &top = levels.back();
    calls.backward(calls.linear(vectors, top.z, in_memory(w.projection, projection), nullptr, nullptr), projected, top.d_z,
                   in_memory(g.projection, d_weights[0]), &g.projection.bias);
    exchange(d_weights[0], calls.to(g.projection.weight), n.projection.weight.rows, features_read(), channels_read());
    for (size_t l = levels.size(); l-- > 1;) convolution_gradient(w.convolutions[l - 1], g.convolutions[l - 1], l);
  }

 private:
  static constexpr int64_t kPoints = 9, kSide = 3;
  static constexpr int64_t kMostColumns = 1 << 17;  // numbers that are copied at a time, unless one step has more

  // The normalised frames, and the output of each convolution.
  struct Level {
    int64_t features, channels;  // of a step
    int64_t steps = 0, chunk = 0;  // of all sources; most at a time
    int64_t *first = nullptr;      // (B + 1)  where each source begins
    T *z = nullptr, *d_z = nullptr;  // (steps, features, channels), the latter of a convolution
    T *kernels = nullptr;            // (channels, 9, channels below)
    int64_t width() const { return features * channels; }
    // The source of a step.
    int64_t source_of(int64_t step, int64_t sources) const { return std::upper_bound(first, first + sources + 1, step) - first - 1; }
  };

  const NetworkView &n;
  StepCalls<T> &calls;
  std::vector<Level> levels;
  const int64_t E = n.embedding_size;
  int64_t B = 0, S = 0, vectors = 0;
  int64_t *vector_lengths;
  T *projection, *projected;     // (E, features, channels); (vectors, E): then their gradient
  T *columns, *d_columns;        // of one chunk
  T *d_weights[2], *d_bias;      // in the order in memory: of all chunks, and of one

  static int64_t halved(int64_t size) { return (size + 1) / 2; }

  // Steps of a source at a level; of frames that are joined with zeros after the last.
  int64_t stored_steps(size_t l, int64_t frames) const {
    if (!n.convolution_layers) return steps(frames) * n.frame_stack;
    for (size_t i = 0; i < l; ++i) frames = halved(frames);
    return frames;
  }

  // What the projection reads: joined frames are one channel.
  int64_t channels_read() const { return n.convolution_layers ? levels.back().channels : 1; }
  int64_t features_read() const { return n.projection.weight.columns / channels_read(); }

  static MatrixView in_memory(const peephole::LinearView &layer, const T *weights) {
    MatrixView view = layer.weight;
    view.numbers = reinterpret_cast<const unsigned char *>(weights);
    return view;
  }

  // to[row][b][a] = from[row][a][b]
  void exchange(const T *from, T *to, int64_t rows, int64_t as, int64_t bs) const {
    calls.for_rows(rows, [&](int64_t row) {
      const T *source = from + row * as * bs;
      T *target = to + row * as * bs;
      for (int64_t a = 0; a < as; ++a)
        for (int64_t b = 0; b < bs; ++b) target[b * as + a] = source[a * bs + b];
    });
  }

  // Calls body(b * S + t, its row) for every vector.
  template <class Body>
  void for_vectors(Body body) const {
    calls.for_sequences(B, [&](int64_t b) {
      const int64_t first = levels.back().first[b] / (n.convolution_layers ? 1 : n.frame_stack);
      for (int64_t t = 0; t < vector_lengths[b]; ++t) body(b * S + t, first + t);
    });
  }

  // (f - mean) · scale of each frame of a source, the planes of a point side by side; 0 where it is masked.
  void normalize(const peephole_trainer_step &given, const NetworkView &w, const VectorUnits<T> *units, int64_t b, bool masks) const {
    const Level &level = levels[0];
    const int64_t F = n.input_size, P = n.input_planes, points = level.features, length = given.source_lengths[b];
    const float *frames = given.frames + b * given.source_steps * F;
    const T *mean = calls.in(w.frame_mean), *scale = calls.in(w.frame_scale);
    const int64_t num_units = units ? units->size : 0;
    T *z = level.z + level.first[b] * F;
    for (int64_t t = 0; t < length; ++t)
      for (int64_t p = 0; p < P; ++p)
        for (int64_t f = 0; f < points; ++f) {
          const int64_t i = p * points + f;
          const T number = T(frames[t * F + i]);
          z[t * F + f * P + p] = ((i < num_units ? units->normalized(b, i, number) : number) - mean[i]) * scale[i];
        }
    clear(z + length * F, (level.first[b + 1] - level.first[b] - length) * F);
    if (!masks) return;
    for_time_masks(calls.settings, given, b, length, [&](Span span) { clear(z + span.first * F, (span.end - span.first) * F); });
    for_feature_masks(calls.settings, given, b, F, [&](Span span) {
      for (int64_t t = 0; t < length; ++t)
        for (int64_t i = span.first; i < span.end; ++i) z[t * F + i % points * P + i / points] = 0;
    });
  }

  // Calls body(first, count) for some steps of a level at a time.
  template <class Body>
  static void for_chunks(const Level &level, Body body) {
    for (int64_t first = 0; first < level.steps; first += level.chunk) body(first, std::min(level.chunk, level.steps - first));
  }

  peephole_linear product(const peephole::LinearView &layer, const Level &level, int64_t first, int64_t count, bool has_bias) const {
    return calls.linear(count * level.features, columns, in_memory(layer, level.kernels), has_bias ? &layer.bias : nullptr,
                        level.z + first * level.width());
  }

  void convolve(const peephole::LinearView &layer, size_t l) const {
    const Level &level = levels[l];
    exchange(calls.in(layer.weight), level.kernels, layer.weight.rows, levels[l - 1].channels, kPoints);
    for_chunks(level, [&](int64_t first, int64_t count) {
      copy_points(l, first, count);
      calls.training.linear_forward(product(layer, level, first, count, true));
      calls.template for_rows<8>(count, [&](int64_t i) { calls.elements.relu(level.z + (first + i) * level.width(), level.width()); });
    });
  }

  // Calls body(feature of the output, the first of its columns below, their number, the first of its 3 points) for each.
  template <class Body>
  static void for_columns(const Level &below, const Level &level, Body body) {
    for (int64_t f = 0; f < level.features; ++f) {
      const int64_t left = 2 * f - 1, begin = std::max(int64_t(0), left), end = std::min(below.features, left + kSide);
      body(f, begin, end - begin, begin - left);
    }
  }

  // The points around the outputs of some steps, as rows of `columns`.
  void copy_points(size_t l, int64_t first, int64_t count) const {
    const Level &level = levels[l], &below = levels[l - 1];
    const int64_t C = below.channels;
    calls.template for_rows<8>(count, [&](int64_t i) {
      const int64_t b = level.source_of(first + i, B), t = first + i - level.first[b], begin = below.first[b];
      T *to = columns + i * level.features * kPoints * C;
      for (int64_t side = 0; side < kSide; ++side) {
        const int64_t row = begin + 2 * t - 1 + side;
        const bool is_real = row >= begin && row < below.first[b + 1];
        for_columns(below, level, [&](int64_t f, int64_t column, int64_t size, int64_t skipped) {
          T *points = to + (f * kPoints + side * kSide) * C;
          if (!is_real || size < kSide) clear(points, kSide * C);
          if (is_real) copy(points + skipped * C, below.z + (row * below.features + column) * C, size * C);
        });
      }
    });
  }

  void convolution_gradient(const peephole::LinearView &layer, const peephole::LinearView &gradient, size_t l) const {
    const Level &level = levels[l], &below = levels[l - 1];
    const int64_t D = layer.weight.rows, K = layer.weight.columns;
    if (below.d_z) calls.for_rows(below.steps, [&](int64_t row) { clear(below.d_z + row * below.width(), below.width()); });
    for_chunks(level, [&](int64_t first, int64_t count) {
      T *d = level.d_z + first * level.width(), *d_kernels = d_weights[first ? 1 : 0];
      copy_points(l, first, count);
      calls.template for_rows<8>(count, [&](int64_t i) {
        calls.elements.relu_gradient(d + i * level.width(), level.z + (first + i) * level.width(), level.width());
      });
      peephole::LinearView part{in_memory(gradient, d_kernels), gradient.bias};
      if (first) part.bias.numbers = reinterpret_cast<const unsigned char *>(d_bias);
      calls.backward(product(layer, level, first, count, false), d, below.d_z ? d_columns : nullptr, part.weight, &part.bias);
      if (first) {
        calls.for_rows(D, [&](int64_t row) { calls.elements.add(d_weights[0] + row * K, d_kernels + row * K, nullptr, K); });
        calls.elements.add(calls.to(gradient.bias), d_bias, nullptr, D);
      }
      if (below.d_z) add_points(l, first, count);
    });
    exchange(d_weights[0], calls.to(gradient.weight), D, kPoints, below.channels);
  }

  // Adds the gradients of the points around the outputs of some steps to those below: of each step below, from its two
  // outputs at most, in their order.
  void add_points(size_t l, int64_t first, int64_t count) const {
    const Level &level = levels[l], &below = levels[l - 1];
    const int64_t C = below.channels, last = first + count - 1;
    auto around = [&](int64_t step, int64_t side) {
      const int64_t b = level.source_of(step, B), row = below.first[b] + 2 * (step - level.first[b]) - 1 + side;
      return std::min(std::max(row, below.first[b]), below.first[b + 1] - 1);
    };
    const int64_t begin = around(first, 0), rows = around(last, kSide - 1) + 1 - begin;
    calls.template for_rows<8>(rows, [&](int64_t i) {
      const int64_t row = begin + i, b = below.source_of(row, B), t = row - below.first[b];
      for (int64_t side = kSide; side-- > 0;) {
        if ((t + 1 - side) % 2) continue;
        const int64_t step = level.first[b] + (t + 1 - side) / 2;
        if (step < std::max(first, level.first[b]) || step > std::min(last, level.first[b + 1] - 1)) continue;
        const T *from = d_columns + (step - first) * level.features * kPoints * C;
        for_columns(below, level, [&](int64_t f, int64_t column, int64_t size, int64_t skipped) {
          calls.elements.add(below.d_z + (row * below.features + column) * C, from + (f * kPoints + side * kSide + skipped) * C, nullptr,
                             size * C);
        });
      }
    });
  }
};

}  // namespace
