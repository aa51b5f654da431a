// Inputs of a layer that occur at many positions, as the embeddings of symbols do: W_x x is computed once for each, and
// the gradients of the pre-activations are summed over the positions of each before they are multiplied.
#pragma once

#include "runtime/kernels.h"
#include "runtime/workers.h"
#include "train/cell_memory.h"

namespace {

// The rows of the gradients of a layer's pre-activations that are multiplied with W_x and with x: those of all steps,
// or, of distinct inputs, their sums.
template <class O>
struct OuterRows {
  const O *gradients;
  int64_t count;
  int64_t chunks() const { return (count + kStepRows - 1) / kStepRows; }
};

// W_x x + b of each distinct input.
template <class T>
class InputTable {
 public:
  InputTable(const peephole::DistinctInputs *given, int64_t hidden_size, Arena &scratch)
      : inputs(given), products(scratch.take<T>(given ? given->count * kGates * padded<T>(hidden_size) : 0)) {}

  // Computes what the cell's `project` computes for all rows.
  template <class Cell>
  void project(Cell &cell, const Walk &walk, int64_t threads, int64_t input_size, int64_t width, T *gates) const {
    const int64_t even = (inputs->count + threads - 1) / threads, size = even < kStepRows ? even : kStepRows;
    for_tasks(threads, (inputs->count + size - 1) / size, [&](int64_t task, int worker) {
      const int64_t first = task * size, left = inputs->count - first;
      cell.project({first, 1, left < size ? left : size}, worker, products,
                   [&](int64_t input) { return static_cast<const T *>(inputs->x) + input * input_size; });
    });
    for_tasks(threads, cell.chunks(), [&](int64_t chunk, int) {
      const RowRange rows = chunk_of(walk, chunk);
      for (int64_t at = rows.first; at < rows.first + rows.count; ++at)
        std::memcpy(gates + at * width, products + inputs->of[walk.position[at]] * width, size_t(width) * sizeof(T));
    });
  }

  explicit operator bool() const { return inputs != nullptr; }

 private:
  const peephole::DistinctInputs *inputs;
  T *products;  // (D, Hp/L, 4, L)
};

// The sums of rows of gradients over the positions of each distinct input, in the order of the rows.
template <class T, class O>
class InputSums {
 public:
  InputSums(const peephole::DistinctInputs *given, int64_t most_rows, int64_t hidden_size, Arena &scratch)
      : inputs(given), ends(scratch.take<int64_t>(given ? given->count : 0)), rows(scratch.take<int64_t>(given ? most_rows : 0)),
        sums(scratch.take<O>(given ? given->count * kGates * padded<T>(hidden_size) : 0)) {}

  // Sums the rows of all steps, of `width` operands.
  OuterRows<O> add(OuterRows<O> all, int64_t width, const Walk &walk, int64_t threads) const {
    find(walk);
    for_tasks(threads, (inputs->count + kTaskInputs - 1) / kTaskInputs, [&](int64_t task, int) {
      for (int64_t input = task * kTaskInputs; input < inputs->count && input < (task + 1) * kTaskInputs; ++input)
        for (int64_t i = 0; i < width; i += kLanes<T>) {
          Vector<T> sum{};
          for (int64_t k = input ? ends[input - 1] : 0; k < ends[input]; ++k)
            sum += load_operand(all.gradients + rows[k] * width + i);
          store_operand(sums + input * width + i, sum);
        }
    });
    return {sums, inputs->count};
  }

  // x and its gradient, of an input.
  const T *x(int64_t input, int64_t size) const { return static_cast<const T *>(inputs->x) + input * size; }
  T *gradient(int64_t input, int64_t size) const { return static_cast<T *>(inputs->d_x) + input * size; }
  explicit operator bool() const { return inputs != nullptr; }

 private:
  static constexpr int64_t kTaskInputs = 8;
  const peephole::DistinctInputs *inputs;
  int64_t *ends;  // (D)     input -> the end of its rows in `rows`
  int64_t *rows;  // (rows)  sorted by input
  O *sums;        // (D, width)

  void find(const Walk &walk) const {
    auto input = [&](int64_t at) { return inputs->of[walk.position[at]]; };
    for (int64_t i = 0; i < inputs->count; ++i) ends[i] = 0;
    for (int64_t at = 0; at < walk.rows; ++at)
      if (input(at) + 1 < inputs->count) ++ends[input(at) + 1];
    for (int64_t i = 1; i < inputs->count; ++i) ends[i] += ends[i - 1];  // the begin of each
    for (int64_t at = 0; at < walk.rows; ++at) rows[ends[input(at)]++] = at;
  }
};

}  // namespace
