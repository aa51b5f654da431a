// Copying, (27), of one row, and its gradients: log p(y) of a mixture of generating y and copying it.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "peephole.h"

namespace {

inline int64_t position_of(const peephole_output_loss &p, int64_t row) { return p.positions ? p.positions[row] : row; }

// Clears the gradients of a padding row.
template <class T>
inline void clear_copy(const peephole_output_loss &p, const peephole_output_loss_gradients &d, int64_t row) {
  static_cast<T *>(d.gates)[row] = 0;
  std::memset(static_cast<T *>(d.weights) + position_of(p, row) * p.source_steps, 0, size_t(p.source_steps) * sizeof(T));
}

template <class T>
class Mixture {
 public:
  double log_p;      // log p(y)
  double generated;  // the share of σ(g) p_vocab(y) in p(y)

  // `log_vocab`: log p_vocab(y); -∞ of a target that cannot be generated.
  Mixture(const peephole_output_loss &problem, int64_t at, double log_vocab)
      : p(problem), row(at), position(position_of(problem, at)) {
    const auto *weights = static_cast<const T *>(p.weights) + position * p.source_steps;
    bool occurs = false;
    for (int64_t j = 0; j < p.source_steps; ++j)
      if (is_copy(j)) {
        occurs = true;
        sum += double(weights[j]);
      }
    const double g = double(static_cast<const T *>(p.gates)[row]);
    gate = 1 / (1 + std::exp(-g));
    const double generate = log_vocab + log_sigmoid(g);
    // At least the smallest normal number, so that no gradient is NaN when all its weights are 0.
    const double copy = occurs ? std::log(sum < kLeast ? kLeast : sum) + log_sigmoid(-g) : -kInfinity;
    const double most = generate > copy ? generate : copy;
    log_p = most == -kInfinity ? most : most + std::log(std::exp(generate - most) + std::exp(copy - most));
    generated = most == -kInfinity ? 0 : std::exp(generate - log_p);
  }

  // Those of the loss for g and the weights.
  void gradients(const peephole_output_loss_gradients &d) const {
    const double share = 1 - p.label_smoothing;
    static_cast<T *>(d.gates)[row] = T(share * (gate - generated));
    auto *weights = static_cast<T *>(d.weights) + position * p.source_steps;
    const T of_copy = sum < kLeast ? T(0) : T(-share * (1 - generated) / sum);
    for (int64_t j = 0; j < p.source_steps; ++j) weights[j] = is_copy(j) ? of_copy : T(0);
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static constexpr double kLeast = double(std::numeric_limits<T>::min());
  const peephole_output_loss &p;
  const int64_t row, position;
  double sum = 0, gate = 0;

  bool is_copy(int64_t j) const { return p.copied[position / p.steps * p.source_steps + j] == p.targets[row]; }
  static double log_sigmoid(double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }
};

}  // namespace
