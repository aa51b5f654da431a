// Additive attention with features of the weights of the steps before, (21), (22):
//
//     e_j = vᵀ tanh(W_s s + b + k_j + U f_j), with the keys k_j = W_h h_j
//
// f_j has C numbers: filters of the last step's α, or the sum of all α.
#pragma once

#include <type_traits>

#include "cell/attention.h"

namespace {

// Features of a source's positions.
template <class T>
struct Features {
  const T *of_first;  // C numbers
  int64_t stride;     // to those of the next position
  int64_t channels;   // C
  const T *at(int64_t j) const { return of_first + j * stride; }
};

// α_j of a query q = W_s s + b, of A numbers. `locations`: Uᵀ (C, Ap).
template <class T>
inline void weigh_located(Source<T> source, const T *vector, const T *query, Features<T> features, const T *locations,
                          T *weights) {
  constexpr int L = kLanes<T>;
  const int64_t A = source.key_size, width = in_lanes<T>(A);
  for (int64_t j = 0; j < source.length; ++j) {
    const T *f = features.at(j);
    Vector<T> sum{};
    for (int64_t a = 0; a < A; a += L) {
      Vector<T> z = load(source.keys + j * A + a, A - a) + load(query + a, A - a);
      for (int64_t c = 0; c < features.channels; ++c) z = fma(splat(f[c]), load(locations + c * width + a), z);
      sum = fma(tanh<T>(z), load(vector + a, A - a), sum);
    }
    weights[j] = sum_of<T>(sum);
  }
  normalize_energies(weights, source.length);
}

// f_jc = Σ_r F_cr α_{j + r}, r from -(R - 1) / 2 on; α is 0 outside the source. `filters`: Fᵀ (R, Cp); writes
// (length, Cp).
template <class T>
inline void filter_weights(const T *before, int64_t length, const T *filters, int64_t width, int64_t channels, T *to) {
  const int64_t stride = in_lanes<T>(channels), reach = width / 2;
  for (int64_t j = 0; j < length; ++j) {
    const int64_t first = j < reach ? reach - j : 0, end = length + reach - j < width ? length + reach - j : width;
    for (int64_t c = 0; c < channels; c += kLanes<T>) {
      Vector<T> sum{};
      for (int64_t r = first; r < end; ++r) sum = fma(splat(before[j + r - reach]), load(filters + r * stride + c), sum);
      store(to + j * stride + c, sum);
    }
  }
}

// Given the gradients of the features, (length, Cp), adds to that of `filters` and sets that of α.
template <class T>
inline void filter_gradient(const T *before, int64_t length, const T *filters, int64_t width, int64_t channels,
                            const T *features, T *d_filters, T *d_before) {
  const int64_t stride = in_lanes<T>(channels), reach = width / 2;
  for (int64_t c = 0; c < channels; c += kLanes<T>)
    for (int64_t r = 0; r < width; ++r) {
      const int64_t first = r < reach ? reach - r : 0, end = length + reach - r < length ? length + reach - r : length;
      T *to = d_filters + r * stride + c;
      Vector<T> sum = load(to);
      for (int64_t j = first; j < end; ++j) sum = fma(splat(before[j + r - reach]), load(features + j * stride + c), sum);
      store(to, sum);
    }
  for (int64_t i = 0; i < length; ++i) {
    const int64_t first = i + reach < length ? 0 : i + reach - length + 1, end = i + reach < width ? i + reach + 1 : width;
    Vector<T> sum{};
    for (int64_t r = first; r < end; ++r)
      for (int64_t c = 0; c < channels; c += kLanes<T>)
        sum = fma(load(filters + r * stride + c), load(features + (i - r + reach) * stride + c), sum);
    d_before[i] = sum_of<T>(sum);
  }
}

// Calls body(number, c) for blocks of channels from c on: several at a time, their number as a constant.
template <class Body>
inline void for_channels(int64_t channels, Body body) {
  constexpr int kMost = 5;
  int64_t c = 0;
  for (; c + kMost <= channels; c += kMost) body(std::integral_constant<int, kMost>(), c);
  for (; c < channels; ++c) body(std::integral_constant<int, 1>(), c);
}

// Given the gradients of energies, adds to those of `keys` (length, A) and of v, `d_vector` (Ap), and sets those of the
// query and of all z_j = q + k_j + U f_j, `sums` (length, Ap). Not inlined, as additive_gradient.
template <class T>
[[gnu::noinline]] void located_gradient(Source<T> source, const T *vector, const T *query, Features<T> features,
                                        const T *locations, const T *energies, T *keys, T *d_vector, T *d_query,
                                        T *sums) {
  const int64_t A = source.key_size, width = in_lanes<T>(A);
  for (int64_t a = 0; a < A; a += kLanes<T>) {
    Vector<T> dq{}, dv{}, q = load(query + a, A - a), v = load(vector + a, A - a);
    for (int64_t j = 0; j < source.length; ++j) {
      Vector<T> z = load(source.keys + j * A + a, A - a) + q, de = splat(energies[j]);
      const T *f = features.at(j);
      for (int64_t c = 0; c < features.channels; ++c) z = fma(splat(f[c]), load(locations + c * width + a), z);
      Vector<T> t = tanh<T>(z), dz = de * v * fma(-t, t, splat<T>(1));
      T *to = keys + j * A + a;
      dv = fma(de, t, dv);
      dq += dz;
      store(to, load(to, A - a) + dz, A - a);
      store(sums + j * width + a, dz);
    }
    store(d_query + a, dq);
    store(d_vector + a, load(d_vector + a) + dv);
  }
}

// Given the gradients of all z_j, `sums` (length, Ap), adds to that of Uᵀ, `d_locations` (C, Ap), and sets those of the
// features, (length, features.stride).
template <class T>
inline void feature_gradient(int64_t length, int64_t A, Features<T> features, const T *locations, const T *sums,
                             T *d_locations, T *d_features) {
  constexpr int L = kLanes<T>;
  const int64_t width = in_lanes<T>(A);
  for_channels(features.channels, [&](auto number, int64_t c) {
    constexpr int N = decltype(number)::value;
    for (int64_t j = 0; j < length; ++j) {
      Vector<T> df[N] = {};
      for (int64_t a = 0; a < A; a += L)
        for (int i = 0; i < N; ++i) df[i] = fma(load(sums + j * width + a), load(locations + (c + i) * width + a), df[i]);
      for (int i = 0; i < N; ++i) d_features[j * features.stride + c + i] = sum_of<T>(df[i]);
    }
    for (int64_t a = 0; a < A; a += L) {
      Vector<T> du[N];
      for (int i = 0; i < N; ++i) du[i] = load(d_locations + (c + i) * width + a);
      for (int64_t j = 0; j < length; ++j)
        for (int i = 0; i < N; ++i) du[i] = fma(load(sums + j * width + a), splat(features.at(j)[c + i]), du[i]);
      for (int i = 0; i < N; ++i) store(d_locations + (c + i) * width + a, du[i]);
    }
  });
}

}  // namespace
