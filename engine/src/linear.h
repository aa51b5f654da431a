// y = W x + b for many rows x at once, and its gradients: the products that do not wait for a recurrence.
#pragma once

#include "output_layout.h"
#include "weight_gradient.h"
#include "workers.h"

namespace {

// panel[k][v][lane] = row(column)[k] for the panel's columns, 0 past the last: a matrix given by its columns.
template <class T, class Row>
inline void pack_columns(T *panel, Columns<T> columns, int64_t depth, Row row) {
  constexpr int L = kLanes<T>;
  for (int64_t k0 = 0; k0 < depth; k0 += L) {
    int64_t strip = depth - k0 < L ? depth - k0 : L;
    for (int v = 0; v < columns.vectors(); ++v) {
      Vector<T> square[L];
#pragma GCC unroll 16
      for (int lane = 0; lane < L; ++lane) {
        square[lane] = Vector<T>{};
        if (lane < columns.in(v)) square[lane] = load(row(columns.first + v * L + lane) + k0, strip);
      }
      transpose<T>(square);
#pragma GCC unroll 16
      for (int k = 0; k < L; ++k)
        if (k < strip) store(panel + (k0 + k) * columns.width() + v * L, square[k]);
    }
  }
}

// Packs row k of `depth` rows into tiles of kTileRows numbers, 0 past the last: tiles[tile][k][r].
template <class T>
inline void pack_row_in_tiles(T *tiles, int64_t depth, int64_t k, const T *row, int64_t size) {
  int64_t whole = size / kTileRows * kTileRows;
  T *to = tiles + k * kTileRows;
  for (int64_t m = 0; m < whole; m += kTileRows, to += depth * kTileRows)
    std::memcpy(to, row + m, kTileRows * sizeof(T));
  for (int64_t m = whole; m < size; ++m) to[m - whole] = row[m];
  if (whole < size)
    for (int64_t m = size; m < whole + kTileRows; ++m) to[m - whole] = 0;
}

template <class T>
class Linear {
 public:
  Linear(const peephole_linear &problem, const peephole_linear_gradients *gradients)
      : p(problem), d(gradients), s(problem, gradients != nullptr, problem.scratch) {}

  void forward() {
    int64_t panels = blocks_of(O, kPanel);
    for_tasks(p.threads, panels, [this](int64_t task, int) { pack_panel({task * kPanel, O}); });
    for_tasks(p.threads, row_tasks(), [this](int64_t task, int) {
      multiply(task, in(p.x), K, s.weight, p.bias ? s.bias : nullptr, O, to(p.y));
    });
  }

  void backward() {
    int64_t packs_weight = blocks_of(O, kPackRows), packs = packs_weight + blocks_of(N, kPackRows);
    for_tasks(p.threads, packs, [=](int64_t task, int) {
      task < packs_weight ? pack_weight(task * kPackRows) : pack_factors((task - packs_weight) * kPackRows);
    });
    int64_t weight_tasks = blocks_of(O, kTaskTiles * kTileRows);
    for_tasks(p.threads, weight_tasks + row_tasks(), [=](int64_t task, int) {
      if (task < weight_tasks)
        weights(task * kTaskTiles * kTileRows);
      else
        multiply(task - weight_tasks, in(d->y), O, s.weight, nullptr, K, to(d->x));
    });
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr int64_t kPanel = kPanelVectors * L;
  static constexpr int64_t kTaskTiles = 48 / kTileRows, kPackRows = 64;
  const peephole_linear &p;
  const peephole_linear_gradients *d;
  LinearScratch<T> s;
  const int64_t N = p.rows, K = p.inputs, O = p.outputs;

  static const T *in(const void *array) { return static_cast<const T *>(array); }
  static T *to(void *array) { return static_cast<T *>(array); }

  // As many tasks for each thread, of about as many rows each.
  int64_t row_tasks() const { return blocks_of(blocks_of(N, kTaskRows), p.threads) * p.threads; }

  void pack_panel(Columns<T> panel) {
    pack_columns(s.weight + panel.first * K, panel, K, [this](int64_t o) { return in(p.weight) + o * K; });
    if (!p.bias) return;
    for (int v = 0; v < panel.vectors(); ++v)
      store(s.bias + panel.first + v * L, load(in(p.bias) + panel.first + v * L, panel.in(v)));
  }

  // Some rows of out = first + left · right, `depth` numbers in a row of left and `columns` in one of out.
  void multiply(int64_t task, const T *left, int64_t depth, const T *right, const T *first, int64_t columns, T *out) {
    int64_t begin = N * task / row_tasks(), end = N * (task + 1) / row_tasks();
    const T *rows[kTaskRows];
    for (int64_t n = begin; n < end; ++n) rows[n - begin] = left + n * depth;
    for_panels<T>(columns, [&](Columns<T> panel) {
      const T *start = first ? first + panel.first : nullptr;
      for_tiles(end - begin, [&](int64_t r, int64_t n) {
        Tile<T> tile = tile_of<T>(n, panel.vectors());
        T *result = out + (begin + r) * columns + panel.first;
        if (panel.first + panel.width() <= columns)
          return tile(depth, rows + r, right + panel.first * depth, start, 0, result, columns);
        T sums[kTileRows * kPanel];
        tile(depth, rows + r, right + panel.first * depth, start, 0, sums, panel.width());
        for (int64_t i = 0; i < n; ++i)
          for (int v = 0; v < panel.vectors(); ++v)
            store(result + i * columns + v * L, load(sums + i * panel.width() + v * L), panel.in(v));
      });
    });
  }

  void pack_weight(int64_t begin) {
    int64_t end = begin + kPackRows < O ? begin + kPackRows : O;
    pack_rows(s.weight, K, O, begin, end, [this](int64_t o) { return in(p.weight) + o * K; });
  }

  // Packs some rows of both factors of the weight's gradient.
  void pack_factors(int64_t begin) {
    int64_t end = begin + kPackRows < N ? begin + kPackRows : N, block = begin / kDepthBlock * kDepthBlock;
    pack_rows(right(block), K, depth(block), begin - block, end - block,
              [=](int64_t k) { return in(p.x) + (block + k) * K; });
    for (int64_t n = begin; n < end; ++n) pack_row_in_tiles(left(block), depth(block), n - block, in(d->y) + n * O, O);
  }

  int64_t depth(int64_t block) const { return N - block < kDepthBlock ? N - block : kDepthBlock; }
  T *right(int64_t block) const { return s.right + block * padded<T>(K); }
  T *left(int64_t block) const { return s.left + block * padded_to_tiles(O); }

  // Rows of the gradients of weight and bias, from row `first` on: sums over all rows of x, block by block.
  void weights(int64_t first) {
    int64_t end = first + kTaskTiles * kTileRows < O ? first + kTaskTiles * kTileRows : O;
    if (d->bias) bias(first, end);
    for (int64_t block = 0; block < N; block += kDepthBlock)
      for_panels<T>(K, [&](Columns<T> panel) {
        for (int64_t m = first; m < end; m += kTileRows) {
          T sums[kTileRows * kPanel];
          outer_tile<T>(panel.vectors(), depth(block), left(block) + m * depth(block),
                        right(block) + panel.first * depth(block), sums);
          for (int64_t r = 0; r < kTileRows && m + r < end; ++r)
            for (int v = 0; v < panel.vectors(); ++v) {
              T *result = to(d->weight) + (m + r) * K + panel.first + v * L;
              Vector<T> sum = load(sums + r * panel.width() + v * L);
              if (block) sum += load(result, panel.in(v));
              store(result, sum, panel.in(v));
            }
        }
      });
  }

  void bias(int64_t first, int64_t end) {
    for (int64_t o = first; o < end; o += L) {
      Vector<T> sum{};
      for (int64_t n = 0; n < N; ++n) sum += load(in(d->y) + n * O + o, end - o);
      store(to(d->bias) + o, sum, end - o);
    }
  }
};

}  // namespace
