// The extensions of a source's hypotheses by one symbol, and the choice of those to keep, as
// peephole/search/extensions.py and phrases.py define it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "predict/hypotheses.h"
#include "predict/models.h"
#include "predict/rules.h"

namespace peephole {

struct Extension {
  double score;  // of the whole hypothesis
  double key;    // by which it is chosen
  int64_t live;
  int32_t symbol;
  int64_t to_go;  // symbols that its phrases need
};

class Extensions {
 public:
  Extensions(const Searcher &searcher, const peephole_request &request, Models &models)
      : searcher_(searcher), request_(request), models_(models), rules_(request) {}

  // The best `count` extensions of the hypotheses of a group, best first; of equal ones, those of the earlier hypothesis
  // and the lower symbol. `chosen` are the symbols that other groups have chosen in this step, in order.
  const std::vector<Extension> &best(const Source &source, int64_t group, int64_t count, const std::vector<int32_t> &chosen) {
    all_.clear();
    for (size_t at = 0; at < source.live.size(); ++at) {
      if (source.live[at].member != group) continue;
      source.steps <= source.target_length ? add_forced(source, at) : add_free(source, at, count, chosen);
      if (all_.size() > kMost && int64_t(all_.size()) / 2 > count) source.phrases.empty() ? keep(count) : thin(count);
    }
    source.phrases.empty() ? keep(count) : share(count);
    return all_;
  }

  // The symbols that may follow a symbol of the present step.
  static int64_t room_after(const Source &source, int32_t symbol) {
    return symbol == PEEPHOLE_EOS ? 0 : source.max_length - source.steps;
  }

 private:
  static constexpr size_t kMost = 1 << 20;  // above which some are dropped before all are made

  const Searcher &searcher_;
  const peephole_request &request_;
  Models &models_;
  Rules rules_;
  std::vector<Extension> all_;
  std::vector<int64_t> indices_, turns_;

  // The symbol of the prefix.
  void add_forced(const Source &source, size_t at) {
    const Live &live = source.live[at];
    const int32_t symbol = source.target[source.steps - 1];
    const float score = models_.scores(live.row)[symbol];
    if (score > float(kNone)) add(source, at, symbol, 0, score);
  }

  void add_free(const Source &source, size_t at, int64_t count, const std::vector<int32_t> &chosen) {
    const Live &live = source.live[at];
    const int64_t size = source.num_symbols;
    float *scores = models_.scores(live.row);
    rules_.apply(source, live.node, scores);
    // Of the symbols that are treated alike, the best `count` are enough; the others are looked at one by one.
    const int64_t others = source.phrases.empty() ? different(chosen) : int64_t(source.phrases.alphabet().size());
    indices_.resize(size_t(std::min(count + others, size)));
    const int64_t found = searcher_.largest(scores, size, int64_t(indices_.size()), indices_.data());
    for (int64_t i = 0; i < found; ++i) {
      const int32_t symbol = int32_t(indices_[size_t(i)]);
      if (source.phrases.empty() || !source.phrases.has(symbol))
        add(source, at, symbol, request_.diversity * double(times(chosen, symbol)), scores[symbol]);
    }
    for (int32_t symbol : source.phrases.alphabet())
      if (scores[symbol] > float(kNone)) add(source, at, symbol, 0, scores[symbol]);
    poll(size + found * 64);
  }

  // Adds an extension; not if its phrases have no room, or lack at </s>.
  void add(const Source &source, size_t at, int32_t symbol, double penalty, float score) {
    const Live &live = source.live[at];
    const double total = live.score + double(score);
    int64_t to_go = 0;
    if (!source.phrases.empty()) {
      to_go = source.phrases.to_go(source.phrases.after(live.progress, symbol));
      if (to_go > room_after(source, symbol)) return;
    }
    all_.push_back({total, total - penalty, int64_t(at), symbol, to_go});
  }

  static int64_t times(const std::vector<int32_t> &chosen, int32_t symbol) {
    const auto range = std::equal_range(chosen.begin(), chosen.end(), symbol);
    return range.second - range.first;
  }

  static int64_t different(const std::vector<int32_t> &chosen) {
    int64_t count = 0;
    for (size_t i = 0; i < chosen.size(); ++i) count += i == 0 || chosen[i] != chosen[i - 1];
    return count;
  }

  static bool is_better(const Extension &a, const Extension &b) {
    if (a.key != b.key) return a.key > b.key;
    return a.live != b.live ? a.live < b.live : a.symbol < b.symbol;
  }

  void sort() { std::sort(all_.begin(), all_.end(), is_better); }

  void keep(int64_t count) {
    if (int64_t(all_.size()) > count) {
      std::nth_element(all_.begin(), all_.begin() + count, all_.end(), is_better);
      all_.resize(size_t(count));
    }
    sort();
  }

  // Sorts the extensions and counts, for each, those at least as good with as many symbols to go.
  void take_turns() {
    sort();
    turns_.clear();
    std::vector<int64_t> counts;
    for (const Extension &extension : all_) {
      if (size_t(extension.to_go) >= counts.size()) counts.resize(size_t(extension.to_go) + 1, 0);
      turns_.push_back(++counts[size_t(extension.to_go)]);
    }
  }

  // Keeps the best `count` for each number of symbols to go.
  void thin(int64_t count) {
    take_turns();
    size_t kept = 0;
    for (size_t i = 0; i < all_.size(); ++i)
      if (turns_[i] <= count) all_[kept++] = all_[i];
    all_.resize(kept);
  }

  // Keeps `count`, taken in turns from those with as many symbols to go, the fewest first.
  void share(int64_t count) {
    take_turns();
    std::vector<std::tuple<int64_t, int64_t, size_t>> order;
    for (size_t i = 0; i < all_.size(); ++i) order.emplace_back(turns_[i], all_[i].to_go, i);
    std::sort(order.begin(), order.end());
    if (int64_t(order.size()) > count) order.resize(size_t(count));
    std::sort(order.begin(), order.end(), [](const auto &a, const auto &b) { return std::get<2>(a) < std::get<2>(b); });
    for (size_t i = 0; i < order.size(); ++i) all_[i] = all_[std::get<2>(order[i])];
    all_.resize(order.size());
  }
};

}  // namespace peephole
