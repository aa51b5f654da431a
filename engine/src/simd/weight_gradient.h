// Gradients of weights: the sum over rows of (gradient of a product)ᵀ (its left factor), as one product for each weight.
//
// The left factors are packed once into tiles of kTileRows<O> columns: tile[group of rows][column]; the right factor, the
// gradients of some units' gates, block by block in each task.
#pragma once

#include "simd/product.h"
#include "simd/ragged_batch.h"

namespace {

constexpr int64_t kStepRows = 96;     // rows of a product over all steps in one task
constexpr int64_t kDepthBlock = 256;  // rows of the right factor that are packed at a time

template <class O>
constexpr int64_t tiled(int64_t columns) {
  return (columns + kTileRows<O> - 1) / kTileRows<O> * kTileRows<O>;
}

// At least that with any instruction set's tiles, to measure memory: of at most 7 rows, or 32 where O has tile registers.
template <class O>
constexpr int64_t most_tiled(int64_t columns) {
  return columns + (kGroup<O> == 1 ? 6 : 31);
}

template <class O>
constexpr int64_t in_groups(int64_t rows) {
  return (rows + kGroup<O> - 1) / kGroup<O> * kGroup<O>;
}

// The depth of packed factors of a gradient, in whole steps; and at least that with any instruction set.
template <class O>
constexpr int64_t in_steps(int64_t rows) {
  return (rows + kDepthStep<O> - 1) / kDepthStep<O> * kDepthStep<O>;
}
template <class O>
constexpr int64_t most_in_steps(int64_t rows) {
  return kGroup<O> == 1 ? rows : (rows + 31) / 32 * 32;
}
static_assert(kTileRows<float> <= 7 && kTileRows<double> <= 7 && kTileRows<Bf16> <= 32, "most_tiled");
static_assert(kDepthStep<float> == 1 && kDepthStep<double> == 1 && 32 % kDepthStep<Bf16> == 0, "most_in_steps");
static_assert(kStepRows % kDepthStep<Bf16> == 0 && kDepthBlock % kDepthStep<Bf16> == 0, "tasks are whole steps");

// A packed left factor and where its gradient goes: (gates · units, stride), of which `columns` columns.
template <class T, class O>
struct Factor {
  const O *tiles;
  int64_t columns;
  T *gradient;
  int64_t stride;
};

// Memory of one thread: a block of the right factor, and the sums of one task.
template <class T, class O>
struct GradientMemory {
  O *right;
  T *sums;
  static constexpr int64_t kWidth = kPanelVectors * 64 / int64_t(sizeof(T));  // of the widest panel
  // `columns`: those of all left factors of a task, each tiled.
  GradientMemory(Arena &arena, int64_t columns)
      : right(arena.take<O>(kDepthBlock * kWidth)), sums(arena.take<T>(columns * kWidth)) {}
};

// GradientMemory for each thread.
template <class T, class O>
struct WorkerMemory {
  int64_t columns;
  char *base;
  size_t size;

  WorkerMemory(int64_t num_columns, int64_t threads, Arena &scratch) : columns(num_columns) {
    Arena one(nullptr);
    GradientMemory<T, O>(one, columns);
    size = one.used();
    base = scratch.take<char>(int64_t(size) * threads);
  }
  GradientMemory<T, O> of(int worker) const {
    Arena own(base + size * size_t(worker));
    return GradientMemory<T, O>(own, columns);
  }
};

#if defined(PEEPHOLE_TILES)

// Packs one step of rows, from row k on, of a left factor of `depth` rows: the numbers of a column side by side. Rows may
// be NULL: 0.
template <class O>
[[gnu::noinline]] void pack_tile_rows(O *tiles, int64_t columns, int64_t depth, int64_t k, const O *const *rows) {
  constexpr int L = kLanes<float>, kStep = kDepthStep<O>;
  for (int64_t column = 0; column < tiled<O>(columns); column += L) {
    const int64_t left = columns - column;
    const __mmask16 mask = left >= L ? 0xffff : left > 0 ? __mmask16((1u << left) - 1) : 0;
    auto words = [&](int row) {
      return rows[row] && mask ? _mm512_maskz_cvtepu16_epi32(mask, _mm256_maskz_loadu_epi16(mask, rows[row] + column)) : __m512i{};
    };
    Vector<float> square[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i)
      square[i] = of_bits(Words(words(2 * i)) | Words(words(2 * i + 1)) << 16);
    transpose<float>(square);
    O *to = tiles + column / kTileRows<O> * kTileRows<O> * depth + k * kTileRows<O> + column % kTileRows<O> * kStep;
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) store(reinterpret_cast<float *>(to + i * kStep), square[i]);
  }
}

#else

// Packs one group of rows, from row k on, of a left factor of `depth` rows; the second row may be NULL: 0. Not inlined:
// it has many callers.
template <class O>
[[gnu::noinline]] void pack_tile_rows(O *tiles, int64_t columns, int64_t depth, int64_t k, const O *const *rows) {
  constexpr int R = kTileRows<O>;
  auto copy = [&](int64_t column, int n) {
    O *to = tiles + column * depth + k * R;
    if constexpr (kGroup<O> == 1) {
      std::memcpy(to, rows[0] + column, size_t(n) * sizeof(O));
    } else {
      for (int i = 0; i < n; ++i) {
        to[2 * i] = rows[0][column + i];
        to[2 * i + 1] = rows[1] ? rows[1][column + i] : Bf16{0};
      }
    }
    for (int64_t i = n * kGroup<O>; i < R * kGroup<O>; ++i) to[i] = O{};
  };
  int64_t column = 0;
  for (; column + R <= columns; column += R) copy(column, R);
  if (column < columns) copy(column, int(columns - column));
}

#endif

// Packs kStepRows rows from `first` on of the `num_rows` rows of a left factor; row(k) are operands.
template <class O, class Row>
inline void pack_tiles(O *tiles, int64_t columns, int64_t num_rows, int64_t first, Row row) {
  constexpr int kStep = kDepthStep<O>;
  int64_t end = first + kStepRows < num_rows ? first + kStepRows : num_rows, depth = in_steps<O>(num_rows);
  for (int64_t k = first; k < end; k += kStep) {
    const O *rows[kStep];
    for (int i = 0; i < kStep; ++i) rows[i] = k + i < num_rows ? row(k + i) : nullptr;
    pack_tile_rows<O>(tiles, columns, depth, k, rows);
  }
}

// Packs `depth` rows of kVectors vectors of the right factor, in whole steps, and adds them to `total`.
template <class T, class O, int kVectors>
inline void pack_right(O *right, const O *rows, int64_t stride, int64_t depth, Vector<T> (&total)[kVectors]) {
  constexpr int L = kLanes<T>, G = kGroup<O>;
  for (int64_t k = 0; k < depth; k += G)
    for (int v = 0; v < kVectors; ++v) {
      const O *from = rows + k * stride + v * L;
      Vector<T> groups = load_operand(from);
      total[v] += groups;
      if constexpr (G == 2) {
        Vector<T> second = k + 1 < depth ? load_operand(from + stride) : Vector<T>{};
        total[v] += second;
        groups = of_bits((bits_of(groups) >> 16) | bits_of(second));
      }
      std::memcpy(right + (k * kVectors + v * G) * L, &groups, sizeof groups);
    }
  const int64_t packed = in_groups<O>(depth) * kVectors * L, whole = in_steps<O>(depth) * kVectors * L;
  std::memset(right + packed, 0, size_t(whole - packed) * sizeof(O));
}

// The gradients of kVectors gates of the L units from `unit` on, for several left factors that share the right one:
// `num_rows` rows of `stride` operands, gates[v]'s units side by side. `bias` may be NULL.
template <class T, class O, int kVectors>
inline void weight_gradient(const O *rows, int64_t stride, int64_t num_rows, const Factor<T, O> *left, int num_left,
                            T *bias, const int (&gates)[kVectors], int64_t unit, int64_t units,
                            GradientMemory<T, O> memory) {
  constexpr int L = kLanes<T>, kRows = kTileRows<O>;
  Vector<T> total[kVectors] = {};
  for (int64_t k = 0; k < num_rows; k += kDepthBlock) {
    int64_t depth = num_rows - k < kDepthBlock ? num_rows - k : kDepthBlock;
    pack_right<T, O, kVectors>(memory.right, rows + k * stride, stride, depth, total);
    T *sums = memory.sums;
    for (int i = 0; i < num_left; ++i)
      for (int64_t column = 0; column < left[i].columns; column += kRows, sums += kRows * kVectors * L)
        outer_tile<O, kVectors>(in_steps<O>(depth), left[i].tiles + column * in_steps<O>(num_rows) + k * kRows,
                                memory.right, sums, k > 0);
  }
  const T *sums = memory.sums;
  for (int i = 0; i < num_left; sums += tiled<O>(left[i].columns) * kVectors * L, ++i)
    for (int64_t column = 0; column < left[i].columns; column += L)
      for (int v = 0; v < kVectors; ++v) {
        Vector<T> square[L];
        for (int64_t c = 0; c < L; ++c)
          square[c] = column + c < left[i].columns ? load(sums + ((column + c) * kVectors + v) * L) : Vector<T>{};
        transpose<T>(square);
        T *to = left[i].gradient + (gates[v] * units + unit) * left[i].stride + column;
#pragma GCC unroll 16
        for (int64_t lane = 0; lane < L; ++lane, to += left[i].stride)
          if (unit + lane < units) store(to, square[lane], left[i].columns - column);
      }
  if (bias && unit < units)
    for (int v = 0; v < kVectors; ++v) store(bias + gates[v] * units + unit, total[v], units - unit);
}

}  // namespace
