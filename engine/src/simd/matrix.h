// Weights packed once for many products, and the rows they are multiplied with, in any number format.
#pragma once

#include "runtime/poll.h"
#include "runtime/share.h"
#include "simd/matrix_view.h"
#include "simd/memory.h"
#include "simd/number_format.h"
#include "simd/product.h"

namespace {

using peephole::MatrixView;
using peephole::Number;
using peephole::NumberFormat;

// Memory that grows; new elements are not initialised.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) { reserve(size); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { peephole::release(data_); }
  void reserve(int64_t size) {
    if (size > size_) data_ = static_cast<T *>(peephole::enlarge(data_, &size_, size, sizeof(T)));
  }
  T *at(int64_t index) { return data_ + index; }
  const T *at(int64_t index) const { return data_ + index; }

 private:
  T *data_ = nullptr;
  int64_t size_ = 0;
};

// Numbers [first, first + count) of row `row` of a matrix, as floats.
inline void read_row(const MatrixView &matrix, int64_t row, int64_t first, int64_t count, float *to) {
  int64_t at = row * matrix.columns + first;
  if (matrix.number == Number::kFloat32) {
    std::memcpy(to, matrix.numbers + at * 4, size_t(count) * 4);
  } else if (matrix.number == Number::kBfloat16) {
    for (int64_t i = 0; i < count; ++i) {
      uint16_t half;
      std::memcpy(&half, matrix.numbers + (at + i) * 2, 2);
      uint32_t word = uint32_t(half) << 16;
      std::memcpy(to + i, &word, 4);
    }
  } else {
    float scale;
    std::memcpy(&scale, matrix.scales + row * 4, 4);
    for (int64_t i = 0; i < count; ++i) to[i] = scale * float(static_cast<signed char>(matrix.numbers[at + i]));
  }
}

// The step between the numbers of an int8 row. 0 for other formats: the step then follows from the largest number.
inline float step_of(const MatrixView &matrix, int64_t row) {
  float scale = 0;
  if (matrix.number == Number::kInt8) std::memcpy(&scale, matrix.scales + row * 4, 4);
  return scale;
}

// Rows of operands. `size` is a multiple of the lanes.
class Operands {
 public:
  Operands(const NumberFormat &format, int64_t size) : format_(format), size_(size) {}
  void reserve(int64_t rows) {
    numbers_.reserve(rows * size_ * format_.bytes);
    scales_.reserve(rows);
  }
  void put(int64_t row, const float *line) {
    *scales_.at(row) = format_.convert(numbers_.at(row * size_ * format_.bytes), line, size_);
  }
  const void *row(int64_t row) const { return numbers_.at(row * size_ * format_.bytes); }
  float scale(int64_t row) const { return *scales_.at(row); }

 private:
  const NumberFormat &format_;
  int64_t size_;
  Buffer<char> numbers_;
  Buffer<float> scales_;
};

// Rows of operands, chosen one by one: the left factor of a product.
class Selection {
 public:
  void clear(int64_t most) {
    rows_.reserve(most);
    scales_.reserve(most);
    size_ = 0;
  }
  void add(const Operands &operands, int64_t row) {
    *rows_.at(size_) = operands.row(row);
    *scales_.at(size_++) = operands.scale(row);
  }
  int64_t size() const { return size_; }
  const void *const *rows() const { return rows_.at(0); }
  const float *scales() const { return scales_.at(0); }

 private:
  Buffer<const void *> rows_;
  Buffer<float> scales_;
  int64_t size_ = 0;
};

// A right factor in panels, packed from rows of weights. A panel holds the columns of `vectors` vectors side by side.
class Matrix {
 public:
  // line(panel, vector, lane, line) writes the `depth` numbers of a column, which are 0 beforehand, and returns the step
  // between them if they are int8, or 0.
  template <class Line>
  void pack(const NumberFormat &format, int64_t columns, int64_t depth, int vectors, Line line) {
    constexpr int L = kLanes<float>;
    format_ = &format;
    depth_ = depth;
    vectors_ = vectors;
    columns_ = in_lanes<float>(columns);
    panel_bytes_ = format.panel_bytes(vectors, depth);
    panels_.reserve((columns_ + vectors * L - 1) / (vectors * L) * panel_bytes_);
    if (format.has_scales) {
      scales_.reserve(columns_);
      zeros_.reserve(columns_);
    }
    Buffer<float> lines(vectors * L * depth);
    for (int64_t first = 0; first < columns_; first += vectors * L) {
      int here = vectors_at(first);
      std::memset(lines.at(0), 0, size_t(here * L * depth) * sizeof(float));
      float steps[kPanelVectors * L] = {};
      for (int v = 0; v < here; ++v)
        for (int lane = 0; lane < L; ++lane)
          steps[v * L + lane] = line(first / (vectors * L), v, lane, lines.at((v * L + lane) * depth));
      format.pack(panels_.at(panel_at(first)), here, depth, lines.at(0), steps, scales(first),
                  zeros(first));
    }
  }

  int64_t columns() const { return columns_; }  // in whole vectors

  // Row r of `out`, `stride` numbers from the next: the product of left row r with the matrix.
  void multiply(const Selection &left, float *out, int64_t stride) const {
    constexpr int64_t kLoading = 4;  // rows that take as long as loading the weights
    const int64_t width = vectors_ * kLanes<float>, rows = left.size() < kLoading ? kLoading : left.size();
    share_range(rows * depth_ * columns_ * format_->bytes / int64_t(sizeof(float)), (columns_ + width - 1) / width,
                [&](int64_t panel, int64_t end) {
                  for (; panel < end; ++panel) multiply_panel(left, panel * width, out, stride);
                });
  }

 private:
  static constexpr int64_t kRowsAtOnce = 1024 * kVectorRows;  // between two polls
  const NumberFormat *format_ = nullptr;
  int64_t depth_ = 0, columns_ = 0, panel_bytes_ = 0;
  int vectors_ = 0;
  Buffer<char> panels_;
  Buffer<float> scales_;   // int8: factor of a column's sums
  Buffer<int32_t> zeros_;  // int8: the first number of a column's sums, which takes off what kInt8Zero adds

  void multiply_panel(const Selection &left, int64_t first, float *out, int64_t stride) const {
    for (int64_t r = 0; r < left.size(); r += kRowsAtOnce) {
      const int64_t rows = left.size() - r < kRowsAtOnce ? left.size() - r : kRowsAtOnce;
      format_->multiply(rows, left.rows() + r, left.scales() + r, panels_.at(panel_at(first)), vectors_at(first), depth_,
                        scales(first), zeros(first), out + r * stride + first, stride);
      peephole::poll(rows * depth_ * vectors_ * kLanes<float>);
    }
  }
  float *scales(int64_t first) { return format_->has_scales ? scales_.at(first) : nullptr; }
  const float *scales(int64_t first) const { return format_->has_scales ? scales_.at(first) : nullptr; }
  int32_t *zeros(int64_t first) { return format_->has_scales ? zeros_.at(first) : nullptr; }
  const int32_t *zeros(int64_t first) const { return format_->has_scales ? zeros_.at(first) : nullptr; }
  int64_t panel_at(int64_t first) const { return first / (vectors_ * kLanes<float>) * panel_bytes_; }
  int vectors_at(int64_t first) const {
    int64_t left = (columns_ - first) / kLanes<float>;
    return int(left < vectors_ ? left : vectors_);
  }
};

// Packs up to `columns` columns of a matrix W, from `first` on, as right factor of y = W x.
inline void pack_matrix(const NumberFormat &format, Matrix &packed, const MatrixView &weight, int64_t first,
                        int64_t columns) {
  constexpr int L = kLanes<float>;
  packed.pack(format, weight.rows, in_lanes<float>(columns), kPanelVectors, [&](int64_t panel, int v, int lane, float *line) {
    int64_t o = (panel * kPanelVectors + v) * L + lane;
    if (o >= weight.rows) return 0.0f;
    read_row(weight, o, first, columns, line);
    return step_of(weight, o);
  });
}

// Reads a row of weights, 0 up to whole vectors.
inline void read_padded(Buffer<float> &to, const MatrixView &from, int64_t row = 0) {
  int64_t size = in_lanes<float>(from.columns);
  to.reserve(size);
  std::memset(to.at(0), 0, size_t(size) * sizeof(float));
  read_row(from, row, 0, from.columns, to.at(0));
}

}  // namespace
