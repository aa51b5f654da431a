// Weights packed once, and the rows they are multiplied with: float, bfloat16, or bytes with a scale for each row.
#pragma once

#include "simd/matrix_view.h"
#include "simd/memory.h"
#include "simd/product.h"

namespace {

using peephole::MatrixView;
using peephole::Number;

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

// The step between the numbers of an int8 row; of others 0, which says that it follows from the largest number.
inline float step_of(const MatrixView &matrix, int64_t row) {
  float scale = 0;
  if (matrix.number == Number::kInt8) std::memcpy(&scale, matrix.scales + row * 4, 4);
  return scale;
}

// The nearest integers, for numbers below 2^22.
inline Words nearest(Vector<float> v) {
  return bits_of(v + splat(Exponential<float>::kRound)) - bits_of(splat(Exponential<float>::kRound));
}

inline float largest_magnitude(const float *line, int64_t size) {
  constexpr int L = kLanes<float>;
  Vector<float> most{};
  for (int64_t i = 0; i < size; i += L) {
    Vector<float> v = load(line + i);
    v = v < Vector<float>{} ? -v : v;
    most = v > most ? v : most;
  }
  float lanes[L], found = 0;
  store(lanes, most);
  for (int i = 0; i < L; ++i) found = lanes[i] > found ? lanes[i] : found;
  return found;
}

// Rows of numbers as operands. `size` is a multiple of the lanes; int8 rows have a scale of their own, so that what a
// row becomes does not depend on the others.
template <class O>
class Operands {
 public:
  explicit Operands(int64_t size) : size_(size) {}
  void reserve(int64_t rows) {
    numbers_.reserve(rows * size_);
    if constexpr (std::is_same_v<O, Int8>) scales_.reserve(rows);
  }
  void put(int64_t row, const float *line) {
    constexpr int L = kLanes<float>;
    O *to = numbers_.at(row * size_);
    if constexpr (std::is_same_v<O, Int8>) {
      typedef uint8_t Bytes __attribute__((vector_size(kVectorBytes / 4)));
      float most = largest_magnitude(line, size_), inverse = most > 0 ? 127 / most : 0;
      *scales_.at(row) = most / 127;
      for (int64_t i = 0; i < size_; i += L) {
        Bytes bytes = __builtin_convertvector(nearest(load(line + i) * splat(inverse)) + 128u, Bytes);
        std::memcpy(to + i, &bytes, sizeof bytes);
      }
    } else {
      for (int64_t i = 0; i < size_; i += L) store_operand(to + i, load(line + i));
    }
  }
  const O *row(int64_t row) const { return numbers_.at(row * size_); }
  float scale(int64_t row) const {
    if constexpr (std::is_same_v<O, Int8>) return *scales_.at(row);
    return 1;
  }

 private:
  int64_t size_;
  Buffer<O> numbers_;
  Buffer<float> scales_;
};

// Rows of operands, chosen one by one, as products want them.
template <class O>
class Selection {
 public:
  void clear(int64_t most) {
    rows_.reserve(most);
    scales_.reserve(most);
    size_ = 0;
  }
  void add(const Operands<O> &operands, int64_t row) {
    *rows_.at(size_) = operands.row(row);
    *scales_.at(size_++) = operands.scale(row);
  }
  int64_t size() const { return size_; }
  const O *const *rows() const { return rows_.at(0); }
  float scale(int64_t index) const { return *scales_.at(index); }

 private:
  Buffer<const O *> rows_;
  Buffer<float> scales_;
  int64_t size_ = 0;
};

// A right factor in panels, packed from rows of weights. A panel holds the columns of `vectors` vectors side by side.
template <class O>
class Matrix {
 public:
  // line(panel, vector, lane, line) writes a column's `depth` numbers, 0 beforehand, and returns the step between them
  // if they are int8, or 0.
  template <class Line>
  void pack(int64_t columns, int64_t depth, int vectors, Line line) {
    constexpr int L = kLanes<float>;
    depth_ = depth;
    vectors_ = vectors;
    columns_ = (columns + L - 1) / L * L;
    panels_.reserve(columns_ * depth);
    if constexpr (std::is_same_v<O, Int8>) {
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
      O *panel = panels_.at(first * depth);
      if constexpr (std::is_same_v<O, Int8>)
        for (int c = 0; c < here * L; ++c) pack_bytes(panel, here, c, first + c, lines.at(c * depth), steps[c]);
      else
        pack_columns(panel, here, depth, depth,
                     [&](int v, int lane) -> const float * { return lines.at((v * L + lane) * depth); });
    }
  }

  int64_t columns() const { return columns_; }  // in whole vectors

  // Row r of `out`, `stride` numbers from the next: the product of left row r with the matrix.
  void multiply(const Selection<O> &left, float *out, int64_t stride) const {
    constexpr int L = kLanes<float>;
    for (int64_t first = 0; first < columns_; first += vectors_ * L) {
      int here = vectors_at(first);
      const O *panel = panels_.at(first * depth_);
      for_tiles(left.size(), [&](int64_t r, int64_t n) {
        float *to = out + r * stride + first;
        if constexpr (std::is_same_v<O, Int8>) {
          int32_t sums[kTileRows * kPanelVectors * L];
          tile_of<O>(n, here)(depth_, left.rows() + r, panel, nullptr, 0, sums, here * L);
          for (int64_t i = 0; i < n; ++i)
            for (int v = 0; v < here; ++v) {
              Vector<int32_t> sum = load(sums + (i * here + v) * L) - load(zeros_.at(first + v * L));
              Vector<float> scale = splat(left.scale(r + i)) * load(scales_.at(first + v * L));
              store(to + i * stride + v * L, __builtin_convertvector(sum, Vector<float>) * scale);
            }
        } else {
          tile_of<O>(n, here)(depth_, left.rows() + r, panel, nullptr, 0, to, stride);
        }
      });
    }
  }

 private:
  int64_t depth_ = 0, columns_ = 0;
  int vectors_ = 0;
  Buffer<O> panels_;
  Buffer<float> scales_;   // int8: what a column's sums are multiplied with
  Buffer<int32_t> zeros_;  // int8: what the 128 that stands for 0 adds to a column's sums

  int vectors_at(int64_t first) const {
    int64_t left = (columns_ - first) / kLanes<float>;
    return int(left < vectors_ ? left : vectors_);
  }

  [[gnu::noinline]] void pack_bytes(O *panel, int here, int column, int64_t index, const float *line, float step) {
    constexpr int L = kLanes<float>, G = kGroup<Int8>;
    if (!(step > 0)) step = largest_magnitude(line, depth_) / 127;
    Vector<float> inverse = splat(step > 0 ? 1 / step : 0), limit = splat(127.0f);
    Vector<int32_t> total{};
    for (int64_t k = 0; k < depth_; k += L) {
      Vector<float> n = load(line + k) * inverse;
      n = n > limit ? limit : n;
      n = n > -limit ? n : -limit;  // NaN is -127, too: an integer at least
      Vector<int32_t> rounded = Vector<int32_t>(nearest(n));
      total += rounded;
      for (int lane = 0; lane < L; ++lane)
        panel[(((k + lane) / G * here + column / L) * L + column % L) * G + (k + lane) % G].bits = uint8_t(rounded[lane]);
    }
    int32_t sum = 0;
    for (int lane = 0; lane < L; ++lane) sum += total[lane];
    *scales_.at(index) = step;
    *zeros_.at(index) = 128 * sum;
  }
};

// A matrix of O rows and up to `columns` of its columns, from `first` on, as right factor: y = W x. `depth` is padded.
template <class O>
inline void pack_matrix(Matrix<O> &packed, const MatrixView &weight, int64_t first, int64_t columns) {
  constexpr int L = kLanes<float>;
  packed.pack(weight.rows, in_lanes<float>(columns), kPanelVectors, [&](int64_t panel, int v, int lane, float *line) {
    int64_t o = (panel * kPanelVectors + v) * L + lane;
    if (o >= weight.rows) return 0.0f;
    read_row(weight, o, first, columns, line);
    return step_of(weight, o);
  });
}

// A vector of weights, 0 up to whole vectors.
inline void read_padded(Buffer<float> &to, const MatrixView &from, int64_t row = 0) {
  int64_t size = in_lanes<float>(from.columns);
  to.reserve(size);
  std::memset(to.at(0), 0, size_t(size) * sizeof(float));
  read_row(from, row, 0, from.columns, to.at(0));
}

}  // namespace
