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
  explicit Rules(const peephole_request &request) : min_length_(request.min_length), n_(request.no_repeat_ngram) {}

  // Sets the scores of symbols that must not follow the hypothesis that ends in a node to -infinity.
  void apply(const Source &source, int64_t node, float *scores) {
    const int64_t length = source.steps - 1;  // of the hypothesis
    for (int64_t v = 0; v <= PEEPHOLE_UNK; ++v)
      if (!is_predictable(v)) scores[v] = float(kNone);
    if (n_ > 0 && length >= n_) block_ngrams(source, node, scores);
    if (length < min_length_) block_end(source, scores);
  }

 private:
  const int64_t min_length_, n_;
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
  static void block_end(const Source &source, float *scores) {
    const float *first = scores + PEEPHOLE_UNK + 1, *end = scores + source.num_symbols;
    const bool other = std::any_of(first, end, [](float s) { return s > float(kNone); });
    if (other) scores[PEEPHOLE_EOS] = float(kNone);
  }
};

}  // namespace peephole
