// Draws a symbol from log-probabilities, as peephole/search/sampling.py defines it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "peephole.h"

namespace peephole {

// Whether a search may choose the symbol: all but <pad>, <s> and <unk>.
inline bool is_predictable(int64_t symbol) { return symbol == PEEPHOLE_EOS || symbol > PEEPHOLE_UNK; }

class Sampler {
 public:
  explicit Sampler(const peephole_request &request) : request_(request) {}

  // The first symbol at which the running sum of the probabilities exceeds u times that of all.
  int32_t draw(const float *log_probs, int64_t num_symbols, double u) {
    probs_.resize(size_t(num_symbols));
    weigh(log_probs);
    truncate();
    double total = std::accumulate(probs_.begin(), probs_.end(), 0.0), held = 0;
    size_t last = PEEPHOLE_EOS;
    for (size_t v = 0; v < probs_.size(); ++v) {
      held += probs_[v];
      if (probs_[v] > 0) last = v;
      if (held > u * total) return int32_t(v);
    }
    return int32_t(last);  // u times the sum may be rounded up to the sum
  }

 private:
  const peephole_request &request_;
  std::vector<double> probs_;
  std::vector<size_t> order_;

  // softmax(log p / temperature) over the symbols that may be predicted.
  void weigh(const float *log_probs) {
    double most = -INFINITY, total = 0;
    for (size_t v = 0; v < probs_.size(); ++v)
      if (is_predictable(int64_t(v))) most = std::max(most, double(log_probs[v]) / request_.temperature);
    for (size_t v = 0; v < probs_.size(); ++v) {
      probs_[v] = is_predictable(int64_t(v)) ? std::exp(double(log_probs[v]) / request_.temperature - most) : 0;
      total += probs_[v];
    }
    for (double &prob : probs_) prob /= total;
  }

  // Keeps the top_k most probable symbols, then the fewest whose probability is at least top_p of theirs.
  void truncate() {
    if (request_.top_k <= 0 && request_.top_p >= 1) return;
    order_.resize(probs_.size());
    std::iota(order_.begin(), order_.end(), size_t(0));
    std::stable_sort(order_.begin(), order_.end(), [this](size_t a, size_t b) { return probs_[a] > probs_[b]; });
    size_t kept = request_.top_k > 0 ? std::min(size_t(request_.top_k), probs_.size()) : probs_.size();
    double total = 0, held = 0;
    for (size_t i = 0; i < kept; ++i) total += probs_[order_[i]];
    for (size_t i = 0; i < probs_.size(); ++i) {
      double &prob = probs_[order_[i]];
      bool keep = i < kept && (request_.top_p >= 1 || held < request_.top_p * total);
      held += prob;
      if (!keep) prob = 0;
    }
  }
};

}  // namespace peephole
