// Operations of a training step on rows of numbers, outside matrix products, and the update of the weights.
#pragma once

#include <cmath>

#include "runtime/kernels.h"
#include "simd/vector.h"

namespace {

// L factors of dropout, of a row that may be NULL: 1.
template <class T>
inline Vector<T> factors_at(const float *factors, int64_t i, int64_t size) {
  if (!factors) return splat<T>(1);
  if constexpr (std::is_same_v<T, float>) {
    return load(factors + i, size - i);
  } else {
    Vector<T> v{};
    for (int64_t lane = 0; lane < kLanes<T> && i + lane < size; ++lane) v[lane] = T(factors[i + lane]);
    return v;
  }
}

template <class T>
void multiply_row(T *to, const T *from, const float *factors, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes<T>)
    store(to + i, load(from + i, size - i) * factors_at<T>(factors, i, size), size - i);
}

template <class T>
void add_row(T *to, const T *from, const float *factors, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes<T>)
    store(to + i, load(to + i, size - i) + load(from + i, size - i) * factors_at<T>(factors, i, size), size - i);
}

template <class T>
void add_scaled_row(T *to, const T *from, T factor, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes<T>)
    store(to + i, fma(splat(factor), load(from + i, size - i), load(to + i, size - i)), size - i);
}

template <class T>
void tanh_row(T *to, const T *from, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes<T>) store(to + i, tanh<T>(load(from + i, size - i)), size - i);
}

template <class T>
void tanh_gradient_row(T *to, const T *from, const T *value, const float *factors, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes<T>) {
    const Vector<T> v = load(value + i, size - i), d = load(from + i, size - i) * factors_at<T>(factors, i, size);
    store(to + i, d * fma(-v, v, splat<T>(1)), size - i);
  }
}

template <class T>
void relu_row(T *to, int64_t size) {
  const Vector<T> zero{};
  for (int64_t i = 0; i < size; i += kLanes<T>) {
    const Vector<T> v = load(to + i, size - i);
    store(to + i, v < zero ? zero : v, size - i);
  }
}

template <class T>
void relu_gradient_row(T *to, const T *value, int64_t size) {
  const Vector<T> zero{};
  for (int64_t i = 0; i < size; i += kLanes<T>)
    store(to + i, load(value + i, size - i) > zero ? load(to + i, size - i) : zero, size - i);
}

template <class T>
double softmax_row(T *scores, T scale, int64_t size) {
  constexpr int L = kLanes<T>;
  Vector<T> largest = splat(scores[0]);
  int64_t i = 0;
  for (; i + L <= size; i += L) {
    const Vector<T> v = load(scores + i);
    largest = largest > v ? largest : v;
  }
  T lanes[L], most = scores[0];
  store(lanes, largest);
  for (T number : lanes) most = most > number ? most : number;
  for (; i < size; ++i) most = most > scores[i] ? most : scores[i];
  Vector<T> sums{};
  for (i = 0; i < size; i += L) {
    store(scores + i, exponential<T>(load(scores + i, size - i) - splat(most)), size - i);
    sums += load(scores + i, size - i);  // 0 past the last
  }
  const T sum = sum_of<T>(sums);
  const Vector<T> factor = splat(scale / sum);
  for (i = 0; i < size; i += L) store(scores + i, load(scores + i, size - i) * factor, size - i);
  return double(most) + std::log(double(sum));
}

// Sums of 32 vectors at a time are added in double.
template <class T>
double sum_of_squares(const T *from, int64_t size) {
  constexpr int64_t kBlock = 32 * kLanes<T>;
  double total = 0;
  for (int64_t block = 0; block < size; block += kBlock) {
    Vector<T> sum{};
    for (int64_t i = block; i < size && i < block + kBlock; i += kLanes<T>) {
      const Vector<T> v = load(from + i, size - i);
      sum = fma(v, v, sum);
    }
    total += double(sum_of<T>(sum));
  }
  return total;
}

// AdamW as in PyTorch: decoupled weight decay, then the step of Adam with bias correction; then the moving average.
template <class T>
void update_weights(const peephole::WeightUpdate<T> &u, int64_t first, int64_t end) {
  const Vector<T> scale = splat(u.gradient_scale), keep = splat(u.weight_scale), rate = splat(u.step_size);
  const Vector<T> new_first = splat(u.first_share), new_second = splat(u.second_share), correction = splat(u.correction);
  const Vector<T> new_average = splat(u.average_share), epsilon = splat(u.epsilon);
  for (int64_t i = first; i < end; i += kLanes<T>) {
    const Vector<T> g = load(u.gradients + i) * scale;
    Vector<T> m = load(u.first_moments + i), v = load(u.second_moments + i), w = load(u.weights + i) * keep;
    m = fma(new_first, g - m, m);
    v = fma(new_second, fma(g, g, -v), v);
    w -= rate * m / fma(square_root(v), correction, epsilon);
    store(u.first_moments + i, m);
    store(u.second_moments + i, v);
    store(u.weights + i, w);
    if (!u.average) continue;
    const Vector<T> a = load(u.average + i);
    store(u.average + i, fma(new_average, w - a, a));
  }
}

template <class T>
constexpr peephole::ElementKernels<T> element_kernels() {
  return {multiply_row<T>, add_row<T>,           add_scaled_row<T>, tanh_row<T>,       tanh_gradient_row<T>,
          relu_row<T>,     relu_gradient_row<T>, softmax_row<T>,    sum_of_squares<T>, update_weights<T>};
}

}  // namespace
