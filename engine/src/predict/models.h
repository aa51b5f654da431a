// The models of one worker, their CTC outputs and their guides, stepped together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "predict/search.h"
#include "runtime/poll.h"

namespace peephole {

constexpr double kNone = -std::numeric_limits<double>::infinity();

class Models {
 public:
  explicit Models(const Searcher &searcher) : searcher_(searcher) {
    for (const Network *network : searcher.networks) decoders_.emplace_back(network->new_decoder());
    for (size_t m = 0; searcher.ctc_weight > 0 && m < decoders_.size(); ++m)
      if (Decoder *ctc = decoders_[m]->new_ctc()) ctc_.emplace_back(ctc);
    for (const Guide &guide : searcher.guides) guides_.emplace_back(guide.network->new_decoder());
  }

  // Reads sources into slots, as Decoder::read does, and returns the row of the first.
  int64_t read(const std::vector<const void *> &sources, const std::vector<const int32_t *> &copies,
               const std::vector<int64_t> &lengths, const std::vector<int64_t> &slots) {
    int64_t row = 0;
    for (auto *all : {&decoders_, &ctc_, &guides_})
      for (auto &decoder : *all)
        row = decoder->read(int64_t(sources.size()), sources.data(), copies.data(), lengths.data(), slots.data());
    return row;
  }

  // One step of all: row r continues row parents[r] of the step before with a symbol, and has log p of sizes[r] symbols.
  void step(const std::vector<int64_t> &parents, const std::vector<int32_t> &symbols, const std::vector<int64_t> &sizes) {
    int64_t n = int64_t(parents.size());
    for (auto *all : {&decoders_, &ctc_, &guides_})
      for (auto &decoder : *all) decoder->step(n, parents.data(), symbols.data());
    for (auto *all : {&decoders_, &ctc_})
      if (all->size() > 1) average(sizes, *all);
    if (is_guided()) combine(n);
  }

  // Gives all rows of the next step these attention weights; of a single model.
  void bend(const float *weights) { decoders_[0]->bend(weights); }

  // log p of every symbol given row r: of several models the mean of their probabilities.
  float *log_probs(int64_t row) const { return decoders_[0]->log_probs(row); }

  // What the search chooses by: log p, of which CTC takes its share, (36), plus the weighted scores of the guides. Without
  // both it is log_probs(row). The search may set the scores of symbols that must not follow to -infinity.
  float *scores(int64_t row) { return is_guided() ? scores_.data() + row * searcher_.num_symbols : log_probs(row); }

  bool any_attention() const {
    for (auto &decoder : decoders_)
      if (decoder->attention(0)) return true;
    return false;
  }

  // Adds the attention of a row to `to`, `places` numbers of 0: the mean over the models with attention to as many places.
  void add_attention(int64_t row, int64_t length, int64_t places, float *to) const {
    int64_t count = 0;
    for (size_t m = 0; m < decoders_.size(); ++m) {
      const float *weights = decoders_[m]->attention(row);
      if (!weights || searcher_.networks[m]->places(length) != places) continue;
      ++count;
      for (int64_t j = 0; j < places; ++j) to[j] += weights[j];
    }
    for (int64_t j = 0; count > 1 && j < places; ++j) to[j] /= float(count);
  }

 private:
  const Searcher &searcher_;
  using Decoders = std::vector<std::unique_ptr<Decoder>>;
  Decoders decoders_, ctc_, guides_;  // ctc_: of those models that have it
  std::vector<float> scores_;         // (rows, V), only with CTC or guides

  bool is_guided() const { return !ctc_.empty() || !guides_.empty(); }

  // The mean of the probabilities of several decoders, in the place of the first one's.
  void average(const std::vector<int64_t> &sizes, const Decoders &decoders) {
    double log_count = std::log(double(decoders.size()));
    for (int64_t row = 0; row < int64_t(sizes.size()); ++row)
      for (int64_t v = 0; v < sizes[size_t(row)]; ++v) {
        double most = kNone, total = 0;
        for (auto &decoder : decoders) most = std::max(most, double(decoder->log_probs(row)[v]));
        for (auto &decoder : decoders) total += std::exp(double(decoder->log_probs(row)[v]) - most);
        decoders[0]->log_probs(row)[v] = float(std::min(0.0, most + std::log(total) - log_count));
        poll(int64_t(decoders.size()) * 64);
      }
  }

  void combine(int64_t n) {
    const int64_t size = searcher_.num_symbols;
    scores_.resize(size_t(n * size));
    for (int64_t row = 0; row < n; ++row) {
      std::copy_n(log_probs(row), size, scores(row));
      if (!ctc_.empty()) interpolate(scores(row), ctc_[0]->log_probs(row));
      for (size_t g = 0; g < guides_.size(); ++g) {
        const float weight = float(searcher_.guides[g].weight), *added = guides_[g]->log_probs(row);
        for (int64_t v = 0; v < size; ++v) scores(row)[v] += weight * added[v];
      }
      poll(size * int64_t(1 + guides_.size()));
    }
  }

  void interpolate(float *scores, const float *ctc) const {
    const float weight = float(searcher_.ctc_weight), rest = float(1 - searcher_.ctc_weight);
    for (int64_t v = 0; v < searcher_.num_symbols; ++v)
      scores[v] = (rest > 0 ? rest * scores[v] : 0) + weight * ctc[v];
  }
};

}  // namespace peephole
