// The CTC loss, (32), of one sequence and its gradient: forward and backward sums over paths, in logarithms.
#pragma once

#include <cmath>

#include "train/step_parts.h"

namespace {

// A target without </s> and the outputs of its source. Its states are blank and its symbols by turns, blank first and last.
struct CtcTarget {
  const int64_t *symbols;  // (N)
  int64_t count, steps;    // N; S, at least 1
  int64_t states() const { return 2 * count + 1; }
  int64_t place(int64_t state) const { return state % 2 ? (state + 1) / 2 : 0; }  // in rows of N + 1: blank, then symbols
  int64_t symbol(int64_t place) const { return place ? symbols[place - 1] : int64_t(PEEPHOLE_PAD); }
  // Whether a path may go to a state from the one two before: blank between two symbols is left out.
  bool skips(int64_t state) const { return state > 2 && state % 2 && symbols[state / 2] != symbols[state / 2 - 1]; }
  // The states [first, end) that a path can have at a step: it begins in the first two, and ends in the last two.
  int64_t first(int64_t step) const { return std::max(int64_t(0), states() - 2 * (steps - step)); }
  int64_t end(int64_t step) const { return std::min(states(), 2 * (step + 1)); }
};

// Numbers that a sequence needs besides its scores.
inline int64_t ctc_numbers(int64_t most_symbols, int64_t steps) {
  const int64_t states = 2 * most_symbols + 1;
  return steps * (most_symbols + 1 + states) + 2 * states;
}

// log(e^a + e^b + e^c)
inline double log_sum(double a, double b, double c) {
  const double most = std::max(a, std::max(b, c));
  return most == -HUGE_VAL ? most : most + std::log(std::exp(a - most) + std::exp(b - most) + std::exp(c - most));
}

// log p_ctc(Y | X), (32), and its gradient, given log p(k | j). `numbers` has ctc_numbers.
class CtcPaths {
 public:
  CtcPaths(const CtcTarget &target, double *numbers)
      : y(target), L(target.states()), log_probs(numbers), alphas(log_probs + y.steps * (y.count + 1)), betas(alphas + y.steps * L),
        before(betas + L) {}

  // log p of the symbol at a place of the target; to be written for all steps and places first.
  double &log_prob(int64_t step, int64_t place) { return log_probs[step * (y.count + 1) + place]; }

  // log p_ctc(Y | X); -∞ if no path is possible.
  double forward() {
    for (int64_t t = 0; t < y.steps; ++t) {
      double *now = alphas + t * L;
      std::fill(now, now + L, -HUGE_VAL);
      for (int64_t s = y.first(t); s < y.end(t); ++s) now[s] = reached(t, s) + log_prob(t, y.place(s));
    }
    const double *last = alphas + (y.steps - 1) * L;
    return total = log_sum(last[L - 1], L > 1 ? last[L - 2] : -HUGE_VAL, -HUGE_VAL);
  }

  // Calls add(step, place, share) for each state of each step: the share of the paths that are in it. After `forward`,
  // which found a path.
  template <class Add>
  void backward(Add add) {
    for (int64_t t = y.steps - 1; t >= 0; --t) {
      std::swap(betas, before);  // `before` has β and log p of the step after
      std::fill(betas, betas + L, -HUGE_VAL);
      for (int64_t s = y.first(t); s < y.end(t); ++s) {
        const double beta = t + 1 < y.steps ? leaving(s) : 0;
        add(t, y.place(s), std::exp(alphas[t * L + s] + beta - total));
        betas[s] = beta + log_prob(t, y.place(s));
      }
    }
  }

 private:
  const CtcTarget &y;
  const int64_t L;
  double *log_probs, *alphas;  // (S, N + 1), (S, L)
  double *betas, *before;      // (L)
  double total = 0;

  double reached(int64_t t, int64_t s) const {
    if (t == 0) return 0;
    const double *from = alphas + (t - 1) * L;
    return log_sum(from[s], s ? from[s - 1] : -HUGE_VAL, y.skips(s) ? from[s - 2] : -HUGE_VAL);
  }
  double leaving(int64_t s) const {
    const bool skips = s + 2 < L && y.skips(s + 2);
    return log_sum(before[s], s + 1 < L ? before[s + 1] : -HUGE_VAL, skips ? before[s + 2] : -HUGE_VAL);
  }
};

// Returns -log p_ctc(Y | X) and makes scores (S, V) its gradient times `weight`. Without a path both are 0.
template <class T>
inline double ctc_loss(const CtcTarget &y, int64_t num_symbols, T weight, const ElementKernels<T> &elements, T *scores, double *numbers) {
  CtcPaths paths(y, numbers);
  bool valid = true;
  for (int64_t t = 0; t < y.steps; ++t) {
    T *row = scores + t * num_symbols;
    for (int64_t i = 0; i <= y.count; ++i) paths.log_prob(t, i) = double(row[y.symbol(i)]);
    const double log_total = elements.softmax(row, weight, num_symbols);
    for (int64_t i = 0; i <= y.count; ++i) paths.log_prob(t, i) -= log_total;
    valid = valid && !std::isnan(log_total);
  }
  const double log_prob = valid ? paths.forward() : NAN;
  if (log_prob == -HUGE_VAL) {
    clear(scores, y.steps * num_symbols);
    return 0;
  }
  if (valid)
    paths.backward([&](int64_t t, int64_t place, double share) {
      scores[t * num_symbols + y.symbol(place)] -= T(double(weight) * share);
    });
  return -log_prob;
}

}  // namespace
