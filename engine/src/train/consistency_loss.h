// The consistency loss, (68), of a panel of rows whose neighbours, 2i and 2i + 1, are two readings of the same with other
// dropout. Scores z are those of OutputLoss: (V, vectors, L), a row in each lane.
#pragma once

#include "simd/vector.h"

namespace {

// The numbers of lanes 2i and 2i + 1 change places.
template <class T>
[[gnu::always_inline]] inline Vector<T> swap_neighbours(Vector<T> v) {
  Vector<T> swapped;
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane) swapped[lane] = v[lane ^ 1];
  return swapped;
}

// Writes KL(p_n || p_m) of each lane n and its neighbour m to `divergences`; norms: the logarithm of each Σ_v e^z.
template <class T>
void find_divergences(const T *z, int64_t V, int vectors, const T *norms, double *divergences) {
  constexpr int64_t L = kLanes<T>, kSumBlock = 32;  // as OutputLoss: sums of blocks are added in double
  for (int v = 0; v < vectors; ++v) {
    const Vector<T> norm = load(norms + v * L);
    double *sums = divergences + v * L;
    for (int lane = 0; lane < L; ++lane) sums[lane] = 0;
    for (int64_t begin = 0; begin < V; begin += kSumBlock) {
      Vector<T> sum{};
      for (int64_t symbol = begin; symbol < V && symbol < begin + kSumBlock; ++symbol) {
        const Vector<T> log_p = load(z + (symbol * vectors + v) * L) - norm;
        sum = fma(exponential<T>(log_p), log_p - swap_neighbours<T>(log_p), sum);
      }
      for (int lane = 0; lane < L; ++lane) sums[lane] += sum[lane];
    }
  }
}

// Replaces z by the gradient, without the part of the target, of the cross-entropy with `even` for every symbol, and of
// weight · (KL(p_n || p_m) + KL(p_m || p_n)).
template <class T>
void consistent_gradients(T *z, int64_t V, int vectors, const T *norms, const double *divergences, T weight, T even) {
  constexpr int64_t L = kLanes<T>;
  for (int v = 0; v < vectors; ++v) {
    const Vector<T> norm = load(norms + v * L);
    Vector<T> divergence;
    for (int lane = 0; lane < L; ++lane) divergence[lane] = T(divergences[v * L + lane]);
    for (int64_t symbol = 0; symbol < V; ++symbol) {
      T *at = z + (symbol * vectors + v) * L;
      const Vector<T> log_p = load(at) - norm, power = exponential<T>(log_p);
      const Vector<T> change = fma(power, log_p - swap_neighbours<T>(log_p) - divergence, power - swap_neighbours<T>(power));
      store(at, fma(splat<T>(weight), change, power - splat<T>(even)));
    }
  }
}

}  // namespace
