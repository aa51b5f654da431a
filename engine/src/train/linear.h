// y = W x + b for many rows x at once, and its gradients: products outside the recurrence.
#pragma once

#include "train/output_layout.h"
#include "runtime/workers.h"

namespace {

template <class T, class O>
class Linear {
 public:
  Linear(const peephole_linear &problem, const peephole_linear_gradients *gradients)
      : p(problem), d(gradients), s(problem, gradients != nullptr, problem.scratch) {}

  void forward() {
    int64_t panels = blocks_of(M, kPanel);
    for_tasks(p.threads, panels, [this](int64_t task, int) { pack_panel({task * kPanel, M}); });
    for_tasks(p.threads, row_tasks(), [this](int64_t task, int worker) {
      multiply(task, worker, in(p.x), K, s.weight, p.bias ? s.bias : nullptr, M, to(p.y));
    });
  }

  void backward() {
    int64_t packs_weight = blocks_of(M, kStepRows), packs = packs_weight + blocks_of(N, kStepRows);
    for_tasks(p.threads, packs, [=](int64_t task, int worker) {
      task < packs_weight ? pack_weight(task * kStepRows) : pack_factors((task - packs_weight) * kStepRows, worker);
    });
    int64_t weight_tasks = blocks_of(M, kTaskTiles * kTileRows<O>);
    for_tasks(p.threads, weight_tasks + (d->x ? row_tasks() : 0), [=](int64_t task, int worker) {
      if (task < weight_tasks)
        weights(task * kTaskTiles * kTileRows<O>);
      else
        multiply(task - weight_tasks, worker, in(d->y), M, s.weight, nullptr, K, to(d->x));
    });
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr int64_t kPanel = kPanelVectors * L;
  static constexpr int64_t kTaskTiles = 48 / kTileRows<O>;
  const peephole_linear &p;
  const peephole_linear_gradients *d;
  LinearScratch<T, O> s;
  const int64_t N = p.rows, K = p.inputs, M = p.outputs;
  const int64_t depth = in_steps<O>(N);  // of the factors of the weight's gradient

  static const T *in(const void *array) { return static_cast<const T *>(array); }
  static T *to(void *array) { return static_cast<T *>(array); }

  // The same number of tasks for each thread, of about the same number of rows.
  int64_t row_tasks() const { return blocks_of(blocks_of(N, kStepRows), p.threads) * p.threads; }

  void pack_panel(Columns<T> panel) {
    int64_t padded = in_groups<O>(K);
    pack_columns(s.weight + panel.first * padded, panel.vectors(), K, padded, [=](int v, int lane) {
      return lane < panel.in(v) ? in(p.weight) + (panel.first + v * L + lane) * K : nullptr;
    });
    if (!p.bias) return;
    for (int v = 0; v < panel.vectors(); ++v)
      store(s.bias + panel.first + v * L, load(in(p.bias) + panel.first + v * L, panel.in(v)));
  }

  // Some rows of out = first + left · right, `size` numbers in a row of left and `columns` in one of out.
  void multiply(int64_t task, int worker, const T *left, int64_t size, const O *right, const T *first, int64_t columns,
                T *out) {
    int64_t begin = N * task / row_tasks(), end = N * (task + 1) / row_tasks();
    const O *rows[kStepRows];
    O *line = lines(worker, size);
    for (int64_t n = begin; n < end; ++n, line += in_lanes<T>(size))
      rows[n - begin] = as_operands(line, left + n * size, size);
    int64_t padded = in_groups<O>(size);
    for_panels<T>(columns, [&](Columns<T> panel) {
      const T *start = first ? first + panel.first : nullptr;
      for_tiles<kTileRows<O>>(end - begin, [&](int64_t r, int64_t n) {
        const auto tile = tile_of<O>(n, panel.vectors());
        T *result = out + (begin + r) * columns + panel.first;
        if (panel.first + panel.width() <= columns)
          return tile(padded, rows + r, right + panel.first * padded, start, 0, result, columns);
        T sums[kTileRows<O> * kPanel];
        tile(padded, rows + r, right + panel.first * padded, start, 0, sums, panel.width());
        for (int64_t i = 0; i < n; ++i)
          for (int v = 0; v < panel.vectors(); ++v)
            store(result + i * columns + v * L, load(sums + i * panel.width() + v * L), panel.in(v));
      });
    });
  }

  // Memory for kStepRows rows of `size` numbers as operands.
  O *lines(int worker, int64_t size) const { return s.lines + worker * kStepRows * in_lanes<T>(size); }

  void pack_weight(int64_t begin) {
    int64_t padded = in_groups<O>(M), end = begin + kStepRows < padded ? begin + kStepRows : padded;
    pack_rows(s.weight, K, padded, begin, end, [this](int64_t o) { return o < M ? in(p.weight) + o * K : nullptr; });
  }

  // Packs some rows of both factors of the weight's gradient.
  void pack_factors(int64_t begin, int worker) {
    int64_t end = begin + kStepRows < depth ? begin + kStepRows : depth;
    pack_rows(s.right, K, depth, begin, end, [this](int64_t n) { return n < N ? in(p.x) + n * K : nullptr; });
    const O *rows[kStepRows];
    O *line = lines(worker, M);
    for (int64_t n = begin; n < end && n < N; ++n, line += in_lanes<T>(M))
      rows[n - begin] = as_operands(line, in(d->y) + n * M, M);
    pack_tiles(s.left, M, N, begin, [&](int64_t n) { return rows[n - begin]; });
  }

  // Rows of the gradients of weight and bias, from row `first` on: sums over all rows of x, block by block.
  void weights(int64_t first) {
    int64_t end = first + kTaskTiles * kTileRows<O> < M ? first + kTaskTiles * kTileRows<O> : M;
    if (d->bias) bias(first, end);
    for (int64_t block = 0; block < N; block += kDepthBlock)
      for_panels<T>(K, [&](Columns<T> panel) {
        for (int64_t m = first; m < end; m += kTileRows<O>) {
          T sums[kTileRows<O> * kPanel];
          outer_tile<O>(panel.vectors(), depth - block < kDepthBlock ? depth - block : kDepthBlock,
                        s.left + m * depth + block * kTileRows<O>,
                        s.right + panel.first * depth + block * panel.width(), sums);
          for (int64_t r = 0; r < kTileRows<O> && m + r < end; ++r)
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
      for (int64_t n = 0; n < N; ++n) sum += load(in(d->y) + n * M + o, end - o);
      store(to(d->bias) + o, sum, end - o);
    }
  }
};

}  // namespace
