// The symbols of a batch as distinct inputs of a layer: without dropout, equal symbols have equal embeddings.
#pragma once

#include "train/step_parts.h"

namespace {

template <class T>
class SymbolInputs {
 public:
  explicit SymbolInputs(const StepCalls<T> &step_calls) : calls(step_calls) {}

  // Takes the memory for `count` symbols of a vocabulary at `positions` positions, of which each has a vector of `size`
  // numbers; `used` false: none.
  void lay_out(Arena &arena, bool used, int64_t vocabulary, int64_t count, int64_t positions, int64_t vector_size, bool learns) {
    is_used = used;
    if (!used) return;
    size = vector_size;
    num_symbols = vocabulary;
    const int64_t most = std::min(vocabulary, count);
    of_symbol = arena.take<int64_t>(vocabulary);
    of_position = arena.take<int64_t>(positions);
    symbols = arena.take<int64_t>(most);
    x = arena.take<T>(most * size);
    for (T *&numbers : d_x) numbers = arena.take<T>(learns ? most * size : 0);
    fill(most);
  }

  // For each direction; NULL: every position has its own input.
  const peephole::DistinctInputs *inputs() const { return is_used ? views : nullptr; }

  // Finds the distinct ones of symbols at some positions, in the order of the vocabulary, and copies their vectors.
  void find(int64_t count, const int64_t *at, const int64_t *given, const MatrixView &table) {
    if (!is_used) return;
    for (int64_t symbol = 0; symbol < num_symbols; ++symbol) of_symbol[symbol] = -1;
    for (int64_t i = 0; i < count; ++i) of_symbol[given[i]] = 0;
    int64_t found = 0;
    for (int64_t symbol = 0; symbol < num_symbols; ++symbol) {
      if (of_symbol[symbol] < 0) continue;
      copy(x + found * size, calls.in(table) + symbol * size, size);
      symbols[found] = symbol;
      of_symbol[symbol] = found++;
    }
    for (int64_t i = 0; i < count; ++i) of_position[at[i]] = of_symbol[given[i]];
    fill(found);
  }

  // Adds the gradients of the vectors, those of some directions.
  void add_gradients(int64_t directions, const MatrixView &gradient) const {
    T *table = calls.to(gradient);
    calls.for_rows(views[0].count, [&](int64_t i) {
      for (int64_t d = 0; d < directions; ++d) calls.elements.add(table + symbols[i] * size, d_x[d] + i * size, nullptr, size);
    });
  }

 private:
  const StepCalls<T> &calls;
  bool is_used = false;
  int64_t size = 0, num_symbols = 0;
  int64_t *of_symbol, *of_position, *symbols;  // (V) symbol -> input or -1; (B, steps) input; (D) input -> symbol
  T *x, *d_x[kMostDirections];                 // (D, size)
  peephole::DistinctInputs views[kMostDirections];

  void fill(int64_t count) {
    for (int64_t d = 0; d < kMostDirections; ++d) views[d] = {count, of_position, x, d_x[d]};
  }
};

}  // namespace
