// Phrases that the targets of a source must contain, as peephole/search/phrases.py defines it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "peephole.h"

namespace peephole {

// The progress of each phrase: the length of its longest beginning with which a hypothesis ends; its whole length once it
// has occurred.
using Progress = std::vector<int32_t>;

class Phrases {
 public:
  Phrases() = default;
  Phrases(const peephole_request &request, int64_t source) {
    if (!request.phrase_offsets) return;
    for (int64_t p = request.phrase_offsets[source]; p < request.phrase_offsets[source + 1]; ++p) {
      const int32_t *first = request.phrases + request.phrase_symbol_offsets[p];
      phrases_.emplace_back(first, request.phrases + request.phrase_symbol_offsets[p + 1]);
      alphabet_.insert(alphabet_.end(), phrases_.back().begin(), phrases_.back().end());
    }
    std::sort(alphabet_.begin(), alphabet_.end());
    alphabet_.erase(std::unique(alphabet_.begin(), alphabet_.end()), alphabet_.end());
  }

  bool empty() const { return phrases_.empty(); }
  Progress start() const { return Progress(phrases_.size(), 0); }
  // The symbols of all phrases, in order.
  const std::vector<int32_t> &alphabet() const { return alphabet_; }
  bool has(int32_t symbol) const { return std::binary_search(alphabet_.begin(), alphabet_.end(), symbol); }

  Progress after(const Progress &before, int32_t symbol) const {
    Progress progress = before;
    for (size_t p = 0; p < phrases_.size(); ++p)
      if (size_t(before[p]) < phrases_[p].size()) progress[p] = progress_after(phrases_[p], before[p], symbol);
    return progress;
  }

  // The lengths of the phrases that have not occurred, less the largest progress of one of them.
  int64_t to_go(const Progress &progress) const {
    int64_t total = 0, furthest = 0;
    for (size_t p = 0; p < phrases_.size(); ++p) {
      if (size_t(progress[p]) == phrases_[p].size()) continue;
      total += int64_t(phrases_[p].size());
      furthest = std::max(furthest, int64_t(progress[p]));
    }
    return total - furthest;
  }

 private:
  std::vector<std::vector<int32_t>> phrases_;
  std::vector<int32_t> alphabet_;

  static int32_t progress_after(const std::vector<int32_t> &phrase, int32_t done, int32_t symbol) {
    for (int32_t size = done + 1; size > 0; --size)
      if (phrase[size_t(size - 1)] == symbol && std::equal(phrase.begin(), phrase.begin() + size - 1, phrase.begin() + done + 1 - size))
        return size;
    return 0;
  }
};

}  // namespace peephole
