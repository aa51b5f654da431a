// σ and tanh over arrays, and the processor's peak; for tests and measurements.
#pragma once

#include "runtime/kernels.h"
#include "simd/product.h"

namespace {

template <class T>
void activate(int32_t function, int64_t n, const void *in, void *out) {
  FlushDenormals flush;
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    Vector<T> z = load(static_cast<const T *>(in) + i, n - i);
    store(static_cast<T *>(out) + i, function == PEEPHOLE_SIGMOID ? sigmoid<T>(z) : tanh<T>(z), n - i);
  }
}

template <class T>
int64_t multiply_in_cache(int64_t repeats) {
  constexpr int64_t kDepth = 96, kWidth = 4 * kLanes<T>;  // at most 24 KB of panel
  static const T panel[kDepth * kWidth] = {}, left[kVectorRows * kDepth] = {};
  T sums[kVectorRows * kWidth];
  const T *rows[kVectorRows];
  for (int r = 0; r < kVectorRows; ++r) rows[r] = left + r * kDepth;
  for (int64_t i = 0; i < repeats; ++i) {
    tile_of<T>(kVectorRows, 4)(kDepth, rows, panel, nullptr, 0, sums, kWidth);
    asm volatile("" ::"r"(sums) : "memory");  // keeps the compiler from removing the product
  }
  return repeats * kDepth * kWidth * kVectorRows * 2;
}

template <class T>
constexpr peephole::ArithmeticKernels arithmetic_kernels() {
  return {activate<T>, multiply_in_cache<T>};
}

}  // namespace
