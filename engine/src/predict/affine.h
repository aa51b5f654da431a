// W x + b for a few rows.
#pragma once

#include "file/network_view.h"
#include "simd/matrix.h"

namespace {

struct Affine {
  Matrix matrix;
  Buffer<float> bias;

  // The columns of W from `first` on.
  void pack(const NumberFormat &format, const peephole::LinearView &view, int64_t first, int64_t columns) {
    pack_matrix(format, matrix, view.weight, first, columns);
    read_padded(bias, view.bias);
  }

  // For rows x whose numbers stand in the order (points, channels); the columns of W stand in (channels, points).
  void pack_transposed(const NumberFormat &format, const peephole::LinearView &view, int64_t channels) {
    const MatrixView &weight = view.weight;
    const int64_t points = weight.columns / channels;
    Buffer<float> row(weight.columns);
    matrix.pack(format, weight.rows, in_lanes<float>(weight.columns), kPanelVectors,
                [&](int64_t panel, int v, int lane, float *line) {
                  int64_t o = (panel * kPanelVectors + v) * kLanes<float> + lane;
                  if (o >= weight.rows) return 0.0f;
                  read_row(weight, o, 0, weight.columns, row.at(0));
                  for (int64_t point = 0; point < points; ++point)
                    for (int64_t channel = 0; channel < channels; ++channel)
                      line[point * channels + channel] = *row.at(channel * points + point);
                  return step_of(weight, o);
                });
    read_padded(bias, view.bias);
  }

  int64_t width() const { return matrix.columns(); }
  void add_bias(int64_t rows, float *out) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width(); i += kLanes<float>)
        store(out + r * width() + i, load(out + r * width() + i) + load(bias.at(i)));
  }
  void apply(const Selection &x, float *out) const {
    matrix.multiply(x, out, width());
    add_bias(x.size(), out);
  }
};

}  // namespace
