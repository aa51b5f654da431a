// Beam search of one source: the K best extensions of its hypotheses, step by step.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "predict/hypotheses.h"
#include "predict/models.h"
#include "predict/sampling.h"

namespace peephole {

// The factor of a score in score / length^penalty. It is above 0, so that no result is 0 · -infinity.
inline double length_factor(int64_t length, double penalty) {
  return std::max(std::pow(double(length), -penalty), DBL_MIN);
}

// A beam of one worker, used for its sources in turn.
class Beam {
 public:
  Beam(const Searcher &searcher, const peephole_request &request, Models &models)
      : searcher_(searcher), request_(request), models_(models) {}

  // Replaces a source's hypotheses by their best extensions. `keep_attention` stores the attention of a row and returns
  // its index.
  template <class KeepAttention>
  void extend(Source &source, KeepAttention keep_attention) {
    find_extensions(source);
    std::vector<Live> live;
    std::vector<int64_t> attention(source.live.size(), -1);
    double factor = length_factor(source.steps, request_.length_penalty);
    for (const Extension &best : extensions_) {
      const Live &from = source.live[size_t(best.live)];
      int64_t &kept = attention[size_t(best.live)];
      if (kept < 0) kept = keep_attention(source, from.row);
      int64_t node = int64_t(source.nodes.size());
      source.nodes.push_back({from.node, best.symbol, models_.log_probs(from.row)[best.symbol], 0, kept});
      if (best.symbol == PEEPHOLE_EOS)
        file(source, {best.score * factor, node});
      else
        live.push_back({from.row, best.symbol, best.score, node, 0});
    }
    source.live = std::move(live);
    bool is_cut = source.steps == source.max_length;
    if (is_cut && source.finished.empty())
      for (const Live &unfinished : source.live) file(source, {unfinished.score * factor, unfinished.node});
    if (int64_t(source.finished.size()) == request_.nbest) drop_hopeless(source);
    source.done = is_cut || source.live.empty();
  }

 private:
  static constexpr size_t kMostExtensions = 1 << 20;  // above which the best are chosen before all are made

  struct Extension {
    double score;  // of the whole hypothesis
    int64_t live;
    int32_t symbol;
  };

  const Searcher &searcher_;
  const peephole_request &request_;
  Models &models_;
  std::vector<Extension> extensions_;
  std::vector<int64_t> indices_;

  void find_extensions(Source &source) {
    const int64_t size = searcher_.num_symbols;
    extensions_.clear();
    for (size_t at = 0; at < source.live.size(); ++at) {
      const Live &live = source.live[at];
      float *scores = models_.scores(live.row);
      int64_t count = 1;
      indices_.resize(size_t(std::min<int64_t>(request_.beam_size, size)));
      if (source.steps <= source.target_length) {
        indices_[0] = source.target[source.steps - 1];
        count = scores[indices_[0]] > kNone;
      } else {
        for (int64_t v = 0; v <= PEEPHOLE_UNK; ++v)
          if (!is_predictable(v)) scores[v] = float(kNone);
        count = searcher_.largest(scores, size, int64_t(indices_.size()), indices_.data());
      }
      for (int64_t i = 0; i < count; ++i) {
        int64_t symbol = indices_[size_t(i)];
        extensions_.push_back({live.score + double(scores[symbol]), int64_t(at), int32_t(symbol)});
      }
      if (extensions_.size() > kMostExtensions && int64_t(extensions_.size()) / 2 > request_.beam_size) keep_best();
      poll(size + count * 64);
    }
    keep_best();
  }

  // The K best of `extensions_`; of equal ones, the first.
  void keep_best() {
    std::stable_sort(extensions_.begin(), extensions_.end(),
                     [](const Extension &a, const Extension &b) { return a.score > b.score; });
    if (int64_t(extensions_.size()) > request_.beam_size) extensions_.resize(size_t(request_.beam_size));
  }

  // Keeps the nbest best; of equal ones, the first.
  void file(Source &source, Finished finished) {
    auto &all = source.finished;
    auto at = std::upper_bound(all.begin(), all.end(), finished,
                               [](const Finished &a, const Finished &b) { return a.score > b.score; });
    poll(all.end() - at);
    all.insert(at, finished);
    if (int64_t(all.size()) > request_.nbest) all.pop_back();
  }

  // Removes hypotheses whose score upper bound does not exceed the worst finished score: scores of symbols are at most 0,
  // so the bound is that of the maximum length with the present sum.
  void drop_hopeless(Source &source) {
    double factor = length_factor(source.max_length, request_.length_penalty), worst = source.finished.back().score;
    auto &live = source.live;
    live.erase(std::remove_if(live.begin(), live.end(), [=](const Live &l) { return l.score * factor <= worst; }),
               live.end());
  }
};

}  // namespace peephole
