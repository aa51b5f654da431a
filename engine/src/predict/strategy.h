// What a request does with a source between two steps of the decoders: beam search, sampling, or a given target.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "predict/beam.h"

namespace peephole {

// Sources that the models read together.
class Reading {
 public:
  void clear() {
    inputs_.clear();
    copies_.clear();
    lengths_.clear();
    slots_.clear();
  }
  bool empty() const { return inputs_.empty(); }

  void add(const Searcher &searcher, const peephole_request &request, const Source &source) {
    inputs_.push_back(input_of(searcher, request, source.index));
    copies_.push_back(searcher.copies ? request.copies + request.source_offsets[source.index] : nullptr);
    lengths_.push_back(source.length);
    slots_.push_back(source.slot);
  }

  // Returns the decoders' row of the first source; those of the others follow.
  int64_t read(Models &models) const { return models.read(inputs_, copies_, lengths_, slots_); }

 private:
  std::vector<const void *> inputs_;
  std::vector<const int32_t *> copies_;
  std::vector<int64_t> lengths_, slots_;
};

// The hypotheses that the models extend together.
class Rows {
 public:
  void clear() {
    parents_.clear();
    symbols_.clear();
    sizes_.clear();
  }

  // Adds the live hypotheses of a source, and tells them their rows.
  void add(Source &source) {
    for (auto &live : source.live) {
      live.row = int64_t(parents_.size());
      parents_.push_back(live.parent);
      symbols_.push_back(live.symbol);
      sizes_.push_back(source.num_symbols);
    }
  }

  // One step of all models for all hypotheses.
  void step(Models &models) const { models.step(parents_, symbols_, sizes_); }

 private:
  std::vector<int64_t> parents_, sizes_;
  std::vector<int32_t> symbols_;
};

// The search of a request; it may serve several of its sources in turn. Searcher, request and models must outlive it.
class Strategy {
 public:
  Strategy(const Searcher &searcher, const peephole_request &request, Models &models)
      : searcher_(searcher), request_(request), models_(models), beam_(searcher, request, models), rules_(request), sampler_(request) {}

  // Adds the hypotheses without symbols, which continue a row of the decoders.
  void start(Source &source, int64_t row) const {
    if (request_.kind == PEEPHOLE_BEAM) return beam_.start(source, row);
    const int64_t members = request_.kind == PEEPHOLE_SAMPLE ? request_.nbest : 1;
    for (int64_t member = 0; member < members; ++member) source.live.push_back({row, PEEPHOLE_BOS, 0, -1, member});
    source.finished.resize(size_t(members));
    if (request_.kind == PEEPHOLE_SAMPLE) start_generators(source);
  }

  // Extends the hypotheses of a source by a symbol, after a step of the models.
  void extend(Source &source) {
    ++source.steps;
    if (request_.kind == PEEPHOLE_BEAM)
      beam_.extend(source, [this](Source &of, int64_t row) { return keep_attention(of, row); });
    else
      follow(source);
  }

  // The targets of a source that is done, before the models' next step.
  std::vector<Found> found(const Source &source) const {
    if (source.finished.empty()) fail(source);
    const bool attends = request_.with_attention && models_.any_attention();
    std::vector<Found> all;
    for (const Finished &finished : source.finished) all.push_back(trace(source, finished.node, attends));
    return all;
  }

 private:
  const Searcher &searcher_;
  const peephole_request &request_;
  Models &models_;
  Beam beam_;
  Rules rules_;
  Sampler sampler_;

  bool is_given() const { return request_.kind == PEEPHOLE_FORCE; }

  // A sample draws its symbol t with the random number s max_length + t of its source, s the number of the sample.
  void start_generators(Source &source) const {
    Generator generator(request_.generators + 4 * source.index);
    for (int64_t member = 0; member < request_.nbest; ++member) {
      source.generators.push_back(generator);
      generator.skip(uint64_t(source.max_length));
    }
  }

  // Stores the attention of a row and returns its index.
  int64_t keep_attention(Source &source, int64_t row) const {
    if (!request_.with_attention && !(request_.coverage_penalty > 0)) return 0;
    int64_t at = int64_t(source.attention.size()) / source.places;
    source.attention.resize(size_t((at + 1) * source.places), 0);
    models_.add_attention(row, source.length, source.places, source.attention.data() + at * source.places);
    return at;
  }

  // Samples and given targets: each hypothesis is extended by one symbol.
  void follow(Source &source) {
    std::vector<Live> live;
    for (const Live &from : source.live) {
      const float *log_probs = models_.log_probs(from.row);
      if (is_given() && request_.num_alternatives)  // a given target is the only hypothesis of its source
        add_most_probable(searcher_, log_probs, source.num_symbols, request_.num_alternatives, source.top_symbols, source.top_log_probs);
      int32_t symbol = next_symbol(source, from, models_.scores(from.row));
      poll(source.num_symbols * (is_given() ? 1 : 64));
      int64_t node = int64_t(source.nodes.size());
      float log_prob = log_probs[symbol];
      if (log_prob != log_prob) fail(source);
      source.nodes.push_back({from.node, symbol, log_prob, keep_attention(source, from.row)});
      if (symbol == PEEPHOLE_EOS || source.steps == source.max_length)
        source.finished[size_t(from.member)].node = node;
      else
        live.push_back({from.row, symbol, 0, node, from.member});
    }
    source.live = std::move(live);
    source.done = source.live.empty();
  }

  int32_t next_symbol(Source &source, const Live &live, float *scores) {
    const double u = is_given() ? 0 : source.generators[size_t(live.member)].uniform();  // forced symbols use one, too
    if (source.steps <= source.target_length) return source.target[source.steps - 1];
    if (is_given()) return PEEPHOLE_EOS;
    rules_.apply(source, live.node, scores);
    return sampler_.draw(scores, source.num_symbols, u);
  }

  [[noreturn]] static void fail(const Source &source) {
    throw std::runtime_error("source " + std::to_string(source.index) +
                             ": the model gives no symbol a probability; are its weights finite numbers?");
  }
};

}  // namespace peephole
