// Layer normalisation in training, (44)-(46): of the gates of a layer and, of an LSTM, the cell that its output reads.
//
// A line holds the numbers that share one mean and one variance: the H units of one gate, or of the cell, at one step of
// one sequence; padding is 0. Lines are numbered in the order of the gains: i, f, g, o of an LSTM, then its cell; r, z, n of
// a GRU.
#pragma once

#include <cmath>

#include "train/cell_memory.h"

namespace {

// The lines of a step, and those of its gates alone.
inline int lines_of(const CellShape &cell) { return cell.gru ? 3 : 5; }
inline int gate_lines_of(const CellShape &cell) { return cell.gru ? 3 : 4; }

template <class T>
class NormalizedForward {
 public:
  NormalizedForward(const CellShape &shape, const NormalizedSaved<T> &kept, Arena &scratch) : cell(shape), saved(kept) {
    const int64_t count = cell.normalizes ? lines_of(cell) * padded<T>(H) : 0;
    gains = scratch.take<T>(count);
    biases = scratch.take<T>(count);
  }

  // Copies the gains and biases of L units.
  void pack(int64_t unit) {
    if (!cell.normalizes) return;
    for (int line = 0; line < lines_of(cell); ++line) {
      const bool of_gate = line < gate_lines_of(cell);
      store(gains + line * units + unit, of_gate ? load_line<T>(cell.gain, line, unit, H) : load_line<T>(cell.cell_gain, 0, unit, H));
      Vector<T> bias = of_gate ? load_line<T>(cell.bias, line, unit, H) : load_line<T>(cell.cell_bias, 0, unit, H);
      if (cell.gru && line < 2) bias += load_line<T>(cell.bias_hidden, line, unit, H);  // b_xr + b_hr
      store(biases + line * units + unit, bias);
    }
  }

  // Normalises a line of row `at`; z holds blocks of L units, `stride` numbers apart.
  void run(int64_t at, int line, const T *z, int64_t stride) const {
    const T inverse = 1 / T(H);
    T *to = saved.line(at, line);
    Vector<T> sum{}, squares{};
    for (int64_t unit = 0, from = 0; unit < units; unit += L, from += stride) {
      store(to + unit, unit < H ? masked(load(z + from), unit) : Vector<T>{});
      sum += load(to + unit);
    }
    const Vector<T> mean = splat<T>(sum_of<T>(sum) * inverse);
    for (int64_t unit = 0; unit < units; unit += L) {
      const Vector<T> centred = masked(load(to + unit) - mean, unit);
      squares = fma(centred, centred, squares);
      store(to + unit, centred);
    }
    const T scale = 1 / std::sqrt(sum_of<T>(squares) * inverse + T(kEpsilon));
    for (int64_t unit = 0; unit < units; unit += L) store(to + unit, load(to + unit) * splat<T>(scale));
    saved.scale(at, line) = scale;
  }

  // L units of a line with gain and bias.
  Vector<T> read(int64_t at, int line, int64_t unit) const {
    return fma(load(saved.line(at, line) + unit), load(gains + line * units + unit), load(biases + line * units + unit));
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr double kEpsilon = 1e-5;  // EPSILON of src/peephole/nn/schema.py
  const CellShape &cell;
  const NormalizedSaved<T> saved;
  const int64_t H = cell.hidden_size, units = in_lanes<T>(H);
  T *gains, *biases;  // (lines, Hp)

  // 0 beyond the last unit.
  Vector<T> masked(Vector<T> v, int64_t unit) const {
    if (unit + L <= H) return v;
    T numbers[L] = {};
    store(numbers, v, H - unit);
    return load(numbers);
  }
};

template <class T>
class NormalizedBackward {
 public:
  NormalizedBackward(const CellShape &shape, const NormalizedSaved<T> &kept, const Walk &ragged, Arena &scratch)
      : cell(shape), saved(kept), walk(ragged) {
    const int64_t size = cell.normalizes ? lines_of(cell) * padded<T>(H) : 0;
    gains = scratch.take<T>(size);
    cell_biases = scratch.take<T>(cell.gru || !size ? 0 : padded<T>(H));
    d_gains = scratch.take<T>(walk.batch * size);
    d_biases = scratch.take<T>(walk.batch * size);
    temporary = scratch.take<T>(walk.parts * size);
  }

  // Copies the gains of L units, and clears the sums.
  void pack(int64_t unit) {
    if (!cell.normalizes) return;
    for (int line = 0; line < lines_of(cell); ++line) {
      const bool of_gate = line < gate_lines_of(cell);
      store(gains + line * units + unit, of_gate ? load_line<T>(cell.gain, line, unit, H) : load_line<T>(cell.cell_gain, 0, unit, H));
      for (int64_t rank = 0; rank < walk.batch; ++rank)
        for (T *sums : {d_gains, d_biases}) store(of(sums, rank, line) + unit, Vector<T>{});
    }
    if (!cell.gru) store(cell_biases + unit, load_line<T>(cell.cell_bias, 0, unit, H));
  }

  // (45): L units of the cell that the output reads.
  Vector<T> read_cell(int64_t at, int64_t unit) const {
    return fma(load(saved.line(at, 4) + unit), load(gains + 4 * units + unit), load(cell_biases + unit));
  }

  // A line for gradients of a part's current row.
  T *gradients(int64_t part, int line) const { return of(temporary, part, line); }

  // Backward through (44): gradients(part, line) holds the gradient of the result, and then that of z, with padding 0. Adds to
  // the gradients of gain and bias.
  void run(int64_t part, int64_t rank, int64_t at, int line) const {
    T *d = gradients(part, line), *d_gain = of(d_gains, rank, line), *d_bias = of(d_biases, rank, line);
    const T *normal = saved.line(at, line), *gain = gains + line * units;
    const T inverse = 1 / T(H);
    Vector<T> sum{}, product{};
    for (int64_t unit = 0; unit < units; unit += L) {
      const Vector<T> dy = load(d + unit), n = load(normal + unit), dn = dy * load(gain + unit);
      store(d_gain + unit, fma(dy, n, load(d_gain + unit)));
      store(d_bias + unit, load(d_bias + unit) + dy);
      store(d + unit, dn);
      sum += dn;
      product = fma(dn, n, product);
    }
    const Vector<T> mean = splat<T>(sum_of<T>(sum) * inverse), along = splat<T>(sum_of<T>(product) * inverse);
    const Vector<T> scale = splat<T>(saved.scale(at, line));
    for (int64_t unit = 0; unit < units; unit += L) {
      const Vector<T> dz = scale * (load(d + unit) - fma(load(normal + unit), along, mean));
      if (unit + L <= H)
        store(d + unit, dz);
      else
        store(d + unit, dz, H - unit);  // dn is 0 beyond: so are gains
    }
  }

  // Writes the gradients of the gains and biases of L units.
  void write(const CellGradients &to, int64_t unit) const {
    for (int line = 0; line < lines_of(cell) && unit < H; ++line) {
      const bool of_gate = line < gate_lines_of(cell);
      const Vector<T> gain = total(d_gains, line, unit), bias = total(d_biases, line, unit);
      write(of_gate ? to.gain : to.cell_gain, of_gate ? line : 0, unit, gain);
      write(of_gate ? to.bias : to.cell_bias, of_gate ? line : 0, unit, bias);
      if (cell.gru && line < 2) write(to.bias_hidden, line, unit, bias);
    }
  }

 private:
  static constexpr int L = kLanes<T>;
  const CellShape &cell;
  const NormalizedSaved<T> saved;
  const Walk &walk;
  const int64_t H = cell.hidden_size, units = in_lanes<T>(H);
  T *gains, *cell_biases;  // (lines, Hp), (Hp)
  T *d_gains, *d_biases;   // (B, lines, Hp): sums over the steps of a sequence, by rank
  T *temporary;            // (parts, lines, Hp)

  T *of(T *array, int64_t row, int line) const { return array + (row * lines_of(cell) + line) * units; }
  Vector<T> total(T *sums, int line, int64_t unit) const {
    Vector<T> all{};
    for (int64_t rank = 0; rank < walk.batch; ++rank) all += load(of(sums, rank, line) + unit);
    return all;
  }
  void write(void *array, int64_t line, int64_t unit, Vector<T> v) const {
    store(static_cast<T *>(array) + line * H + unit, v, H - unit);
  }
};

}  // namespace
