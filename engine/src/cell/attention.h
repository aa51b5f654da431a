// Attention, (15)-(17), of one decoder step for one sequence, and its gradients.
#pragma once

#include "peephole.h"
#include "simd/operand.h"

namespace {

// The sum of a vector's numbers, in a fixed order.
template <class T>
inline T sum_of(Vector<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int width = kLanes<T> / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// One sequence's source. Additive: e_j = vᵀ tanh(k_j + q) with q = W_s s; dot and general: e_j = k_jᵀ q with q = s.
template <class T>
struct Source {
  const T *keys;    // (length, A)
  const T *memory;  // (length, M): h_j
  const T *vector;  // (A) v, or NULL: dot or general
  int64_t length, key_size, memory_size;

  // Weights α_j of a query of A numbers, (15), (16).
  void weigh(const T *query, T *weights) const {
    constexpr int L = kLanes<T>;
    T most = 0;
    for (int64_t j = 0; j < length; ++j) {
      Vector<T> sum{};
      for (int64_t a = 0; a < key_size; a += L) {
        Vector<T> k = load(keys + j * key_size + a, key_size - a), q = load(query + a, key_size - a);
        sum = vector ? fma(tanh<T>(k + q), load(vector + a, key_size - a), sum) : fma(k, q, sum);
      }
      weights[j] = sum_of<T>(sum);
      if (j == 0 || weights[j] > most) most = weights[j];
    }
    T total = 0;
    for (int64_t j = 0; j < length; j += L) {
      Vector<T> e = exponential<T>(load(weights + j, length - j) - splat(most));
      store(weights + j, e, length - j);
      for (int64_t i = j; i < length && i < j + L; ++i) total += weights[i];
    }
    for (int64_t j = 0; j < length; ++j) weights[j] /= total;
  }

  // Σ_j α_j h_j, (17), L numbers from `unit` on.
  Vector<T> context(const T *weights, int64_t unit) const {
    Vector<T> sum{};
    for (int64_t j = 0; j < length; ++j)
      sum = fma(splat(weights[j]), load(memory + j * memory_size + unit, memory_size - unit), sum);
    return sum;
  }
};

// The sums of the gradients of one sequence's source.
template <class T>
struct SourceGradients {
  T *keys, *memory;  // (length, A), (length, M)
  T *vector;         // (Ap), padded

  // Adds those of one step, given the gradient of its context; sets `d_query` (Ap). `energies` holds `length` numbers.
  void add(const Source<T> &source, const T *query, const T *weights, const T *d_context, T *energies,
           T *d_query) const {
    constexpr int L = kLanes<T>;
    const int64_t M = source.memory_size, A = source.key_size;
    T mean = 0;
    for (int64_t j = 0; j < source.length; ++j) {
      Vector<T> sum{}, alpha = splat(weights[j]);
      for (int64_t m = 0; m < M; m += L) {
        Vector<T> dc = load(d_context + m, M - m);
        T *to = memory + j * M + m;
        sum = fma(dc, load(source.memory + j * M + m, M - m), sum);
        store(to, fma(alpha, dc, load(to, M - m)), M - m);
      }
      energies[j] = sum_of<T>(sum);
      mean += weights[j] * energies[j];
    }
    for (int64_t j = 0; j < source.length; ++j) energies[j] = weights[j] * (energies[j] - mean);  // of (16)
    for (int64_t a = 0; a < A; a += L) {
      Vector<T> dq{}, dv{}, q = load(query + a, A - a), v{};
      if (source.vector) v = load(source.vector + a, A - a);
      for (int64_t j = 0; j < source.length; ++j) {
        Vector<T> de = splat(energies[j]), k = load(source.keys + j * A + a, A - a), dk;
        T *to = keys + j * A + a;
        if (source.vector) {
          Vector<T> t = tanh<T>(k + q);
          dv = fma(de, t, dv);
          dk = de * v * fma(-t, t, splat<T>(1));
          dq += dk;
        } else {
          dk = de * q;
          dq = fma(de, k, dq);
        }
        store(to, load(to, A - a) + dk, A - a);
      }
      store(d_query + a, dq);
      if (source.vector) store(vector + a, load(vector + a) + dv);
    }
  }
};

}  // namespace
