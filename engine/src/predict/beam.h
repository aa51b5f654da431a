// Beam search of one source: the K best extensions of its hypotheses, step by step, in one group or several.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

#include "predict/extensions.h"

namespace peephole {

// The factor of a score in score / length^penalty. It is above 0, so that no result is 0 · -infinity.
inline double length_factor(int64_t length, double penalty) {
  return std::max(std::pow(double(length), -penalty), DBL_MIN);
}

// Is told what a beam does with a source, for a trace.
class BeamObserver {
 public:
  virtual ~BeamObserver() = default;
  // Before the scores of the step's rows are changed by rules.
  virtual void begin_step(const Source &source) = 0;
  // An extension of live hypothesis `live` is kept, and has this node.
  virtual void keep(const Source &source, int64_t live, const Extension &extension, int64_t node) = 0;
  // All are chosen; the source still has the hypotheses that were extended.
  virtual void end_step(const Source &source) = 0;
};

// A beam of one worker, used for its sources in turn.
class Beam {
 public:
  // An observed beam does not drop hopeless hypotheses before the search ends, which changes no result.
  Beam(const Searcher &searcher, const peephole_request &request, Models &models, BeamObserver *observer = nullptr)
      : request_(request), models_(models), observer_(observer), extensions_(searcher, request, models),
        num_groups_(std::max<int64_t>(1, request.diverse_groups)), width_(request.beam_size / num_groups_),
        each_((request.nbest + num_groups_ - 1) / num_groups_) {}

  // One empty hypothesis for each group.
  void start(Source &source, int64_t row) const {
    for (int64_t group = 0; group < num_groups_; ++group)
      source.live.push_back({row, PEEPHOLE_BOS, 0, -1, group, source.phrases.start()});
    source.groups.resize(size_t(num_groups_));
  }

  // Replaces a source's hypotheses by their best extensions. `keep_attention` stores the attention of a row and returns
  // its index.
  template <class KeepAttention>
  void extend(Source &source, KeepAttention keep_attention) {
    std::vector<Live> live;
    std::vector<int32_t> chosen;
    std::vector<int64_t> attention(source.live.size(), -1);
    if (observer_) observer_->begin_step(source);
    for (int64_t group = 0; group < num_groups_; ++group) {
      const size_t before = chosen.size();
      for (const Extension &best : extensions_.best(source, group, width_, chosen)) {
        const Live &from = source.live[size_t(best.live)];
        int64_t &kept = attention[size_t(best.live)];
        if (kept < 0) kept = keep_attention(source, from.row);
        int64_t node = int64_t(source.nodes.size());
        source.nodes.push_back({from.node, best.symbol, models_.log_probs(from.row)[best.symbol], kept});
        if (observer_) observer_->keep(source, best.live, best, node);
        if (best.symbol == PEEPHOLE_EOS)
          file(source, group, {final_score(source, best.score, node), node});
        else
          live.push_back({from.row, best.symbol, best.score, node, group, progress(source, from, best.symbol)});
        if (num_groups_ > 1) next_chosen_.push_back(best.symbol);
      }
      chosen.insert(chosen.end(), next_chosen_.begin(), next_chosen_.end());
      next_chosen_.clear();
      if (chosen.size() > before) std::sort(chosen.begin(), chosen.end());
    }
    if (observer_) observer_->end_step(source);
    source.live = std::move(live);
    const bool is_cut = source.steps == source.max_length;
    if (is_cut) keep_unfinished(source);
    if (num_groups_ == 1 && !observer_) drop_hopeless(source);
    source.done = is_cut || std::all_of(source.live.begin(), source.live.end(), [&](const Live &l) { return is_hopeless(source, l); });
    if (source.done) gather(source);
  }

 private:
  const peephole_request &request_;
  Models &models_;
  BeamObserver *observer_;  // NULL but for a trace
  Extensions extensions_;
  const int64_t num_groups_, width_, each_;  // hypotheses of a group, kept and returned
  std::vector<int32_t> next_chosen_;

  static Progress progress(const Source &source, const Live &from, int32_t symbol) {
    return source.phrases.empty() ? Progress() : source.phrases.after(from.progress, symbol);
  }

  // score / |Y|^penalty + reward |Y| + coverage penalty, for a hypothesis that ends in a node of this step.
  double final_score(const Source &source, double score, int64_t node) const {
    const double final = score * length_factor(source.steps, request_.length_penalty) +
                         request_.length_reward * double(source.steps);
    return request_.coverage_penalty > 0 ? final + request_.coverage_penalty * uncovered(source, node) : final;
  }

  // Σ_j log min(Σ_t α_tj, 1).
  double uncovered(const Source &source, int64_t last) const {
    if (!models_.any_attention()) throw std::invalid_argument("coverage_penalty: wanted a model with attention, got one without");
    std::vector<double> covered(size_t(source.places), 0);
    for (int64_t node = last; node >= 0; node = source.nodes[size_t(node)].parent) {
      const float *weights = source.attention.data() + source.nodes[size_t(node)].attention * source.places;
      for (int64_t j = 0; j < source.places; ++j) covered[size_t(j)] += double(weights[j]);
      poll(source.places);
    }
    double total = 0;
    for (double part : covered) total += std::log(std::min(std::max(part, DBL_MIN), 1.0));
    return total;
  }

  // Keeps the best of a group; of equal ones, the first.
  void file(Source &source, int64_t group, Finished finished) {
    auto &all = source.groups[size_t(group)];
    auto at = std::upper_bound(all.begin(), all.end(), finished,
                               [](const Finished &a, const Finished &b) { return a.score > b.score; });
    poll(all.end() - at);
    all.insert(at, finished);
    if (int64_t(all.size()) > each_) all.pop_back();
  }

  // Files the unfinished hypotheses of groups in which none has finished.
  void keep_unfinished(Source &source) {
    std::vector<bool> is_empty;
    for (const auto &finished : source.groups) is_empty.push_back(finished.empty());
    for (const Live &live : source.live)
      if (is_empty[size_t(live.member)]) file(source, live.member, {final_score(source, live.score, live.node), live.node});
  }

  // Whether a hypothesis cannot exceed the worst finished score of its full group. Sums of scores only fall, so the bound
  // is that of the maximum length with the present sum and a covered source.
  bool is_hopeless(const Source &source, const Live &live) const {
    const auto &finished = source.groups[size_t(live.member)];
    const double bound = live.score * length_factor(source.max_length, request_.length_penalty) +
                         request_.length_reward * double(source.max_length);
    return int64_t(finished.size()) == each_ && bound <= finished.back().score;
  }

  void drop_hopeless(Source &source) const {
    auto &live = source.live;
    live.erase(std::remove_if(live.begin(), live.end(), [&](const Live &l) { return is_hopeless(source, l); }), live.end());
  }

  // The different hypotheses of all groups, best first; unfinished ones only where none is finished.
  void gather(Source &source) const {
    std::vector<Finished> all;
    for (const auto &finished : source.groups) all.insert(all.end(), finished.begin(), finished.end());
    std::stable_sort(all.begin(), all.end(), [](const Finished &a, const Finished &b) { return a.score > b.score; });
    auto ends = [&](const Finished &f) { return source.nodes[size_t(f.node)].symbol == PEEPHOLE_EOS; };
    const bool any = std::any_of(all.begin(), all.end(), ends);
    std::set<std::vector<int32_t>> seen;
    for (const Finished &finished : all)
      if (num_groups_ == 1 || (ends(finished) == any && seen.insert(symbols_of(source, finished.node)).second))
        source.finished.push_back(finished);
    if (int64_t(source.finished.size()) > request_.nbest) source.finished.resize(size_t(request_.nbest));
  }
};

}  // namespace peephole
