// Which symbols may follow a hypothesis, as peephole/search/rules.py defines it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "predict/hypotheses.h"
#include "predict/models.h"
#include "predict/sampling.h"

namespace peephole {

class Rules {
 public:
  Rules(int64_t num_symbols, const peephole_request &request)
      : size_(num_symbols), min_length_(request.min_length), n_(request.no_repeat_ngram) {}

  // Sets the scores of symbols that must not follow the hypothesis that ends in a node, V of them, to -infinity.
  void apply(const Source &source, int64_t node, float *scores) {
    const int64_t length = source.steps - 1;  // of the hypothesis
    for (int64_t v = 0; v <= PEEPHOLE_UNK; ++v)
      if (!is_predictable(v)) scores[v] = float(kNone);
    if (n_ > 0 && length >= n_) block_ngrams(source, node, scores);
    if (length < min_length_) block_end(scores);
  }

 private:
  const int64_t size_, min_length_, n_;
  std::vector<int32_t> symbols_;

  // Symbols that would complete an n-gram for the second time.
  void block_ngrams(const Source &source, int64_t node, float *scores) {
    symbols_ = symbols_of(source, node);
    const auto last = symbols_.end() - (n_ - 1);
    for (auto gram = symbols_.begin(); gram + n_ <= symbols_.end(); ++gram)
      if (std::equal(last, symbols_.end(), gram)) scores[gram[n_ - 1]] = float(kNone);
    poll(int64_t(symbols_.size()) * n_);
  }

  // </s>, where another symbol may follow.
  void block_end(float *scores) const {
    const bool other = std::any_of(scores + PEEPHOLE_UNK + 1, scores + size_, [](float s) { return s > float(kNone); });
    if (other) scores[PEEPHOLE_EOS] = float(kNone);
  }
};

}  // namespace peephole
