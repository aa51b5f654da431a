// Searches and traces of the fuzzer, some of whose numbers are invalid.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "peephole.h"

namespace {

inline void check_message(const char *message) {
  if (message[0] == '\0' || std::strchr(message, '\n')) std::abort();  // errors are one line
}

// A search for a few sources; some of its numbers are invalid.
class Request {
 public:
  Request(const peephole_model *model, std::mt19937_64 &random) : random_(random), model_(model) {
    int64_t sources = below(5), symbols = peephole_model_num_symbols(model, PEEPHOLE_SOURCE);
    for (int64_t b = 0; b < sources; ++b) {
      int64_t num_targets = peephole_model_num_symbols(model, PEEPHOLE_TARGET);
      const int64_t vocabulary = num_targets;
      for (int64_t i = one_in(50) ? 0 : 1 + below(8); i > 0; --i) {
        sources_.push_back(symbol(symbols));
        const int64_t copy = PEEPHOLE_UNK + 1 + below(num_targets - PEEPHOLE_UNK);  // num_targets: a new text
        copies_.push_back(int32_t(one_in(100) ? below(num_targets + 3) - 1 : copy));
        if (peephole_model_copies(model)) num_targets += copies_.back() == num_targets;
      }
      most_.push_back(num_targets - vocabulary);
      source_offsets_.push_back(int64_t(sources_.size()));
      for (int64_t i = below(4); i > 0; --i) targets_.push_back(symbol(num_targets));
      target_offsets_.push_back(int64_t(targets_.size()));
      max_lengths_.push_back(one_in(50) ? below(3) - 1 : 4 + below(8));
    }
    for (int64_t i = 0; i < 4 * sources; ++i) generators_.push_back(random_());
    r_.kind = int32_t(below(one_in(50) ? 5 : 3)) - (one_in(100) ? 1 : 0);
    r_.threads = one_in(100) ? int32_t(below(2)) - 1 : 1 + int32_t(below(2));
    r_.with_attention = int32_t(below(2));
    r_.num_models = 1 + int64_t(one_in(4));
    r_.num_sources = sources;
    r_.batch_size = one_in(100) ? below(2) - 1 : 1 + below(4);
    r_.beam_size = one_in(50) ? below(3) - 1 : 1 + below(6);
    r_.nbest = one_in(20) ? below(8) - 1 : 1 + below(std::max<int64_t>(1, r_.beam_size));
    r_.length_penalty = one_in(50) ? NAN : double(below(3));
    r_.temperature = one_in(50) ? -1 : 0.5 + double(below(3));
    r_.top_p = one_in(50) ? 1.5 : one_in(2) ? 1 : 0.7;
    r_.top_k = one_in(50) ? -1 : below(4);
    const int64_t num_targets = peephole_model_num_symbols(model, PEEPHOLE_TARGET);
    r_.num_alternatives = one_in(50) ? num_targets + below(3) - 1 : below(std::min<int64_t>(num_targets, 9));
    constrain(sources);
  }

  void run() {
    point();
    r_.should_stop = one_in(4) ? nullptr : stops_at_third_call;
    r_.should_stop_context = &calls_;
    peephole_result *result = nullptr;
    char message[200] = "";
    if (const peephole_status status = peephole_search(&r_, &result, message, sizeof message)) {
      if ((status == PEEPHOLE_STOPPED) != (calls_ == 3)) std::abort();
      return check_message(message);
    }
    if (calls_ > 2) std::abort();
    read(*result);
    peephole_result_release(result);
  }

  // Adds the first source to a session of `num_models` models; returns whether it was accepted.
  bool join(peephole_session *session, int64_t num_models, int64_t ticket) {
    point();
    r_.num_models = one_in(50) ? 3 - num_models : num_models;
    r_.num_guides = one_in(10);
    r_.num_sources = std::min<int64_t>(r_.num_sources, one_in(50) ? 2 : 1);
    char message[200] = "";
    if (!peephole_session_add(session, ticket, &r_, message, sizeof message)) return true;
    check_message(message);
    return false;
  }

 private:
  void point() {
    r_.models = models_;
    r_.source_offsets = source_offsets_.data();
    r_.sources = sources_.data();
    r_.copies = one_in(100) ? nullptr : copies_.data();
    r_.max_lengths = max_lengths_.data();
    r_.target_offsets = r_.kind != PEEPHOLE_FORCE && one_in(2) ? nullptr : target_offsets_.data();
    r_.targets = targets_.data();
    r_.generators = generators_.data();
    r_.guides = models_;
    r_.guide_weights = guide_weights_;
    r_.phrase_offsets = one_in(2) ? nullptr : phrase_offsets_.data();
    r_.phrase_symbol_offsets = phrase_symbol_offsets_.data();
    r_.phrases = phrases_.data();
    if (one_in(30)) drop(below(12));
  }

  // Makes one of the addresses NULL.
  void drop(int64_t which) {
    switch (which) {
      case 0: r_.models = nullptr; break;
      case 1: r_.source_offsets = nullptr; break;
      case 2: r_.sources = nullptr; break;
      case 3: r_.copies = nullptr; break;
      case 4: r_.max_lengths = nullptr; break;
      case 5: r_.target_offsets = nullptr; break;
      case 6: r_.targets = nullptr; break;
      case 7: r_.generators = nullptr; break;
      case 8: r_.guides = nullptr; break;
      case 9: r_.guide_weights = nullptr; break;
      case 10: r_.phrase_symbol_offsets = nullptr; break;
      default: r_.phrases = nullptr;
    }
  }

  void read(const peephole_result &result) const {
    volatile double total = 0;  // reads the whole result
    for (int64_t n = 0; n < result.num_targets; ++n) {
      total = total + result.log_probs[n];
      for (int64_t i = result.offsets[n]; i < result.offsets[n + 1]; ++i) {
        total = total + double(result.symbol_log_probs[i]);
        const int64_t text = result.symbols[i] - peephole_model_num_symbols(model_, PEEPHOLE_TARGET);
        if (text >= most_[size_t(result.source[n])]) std::abort();
        if (text < 0 && !peephole_model_symbol_text(model_, PEEPHOLE_TARGET, result.symbols[i])) std::abort();
      }
      for (int64_t i = result.offsets[n] * result.num_alternatives; i < result.offsets[n + 1] * result.num_alternatives; ++i) {
        if (result.top_symbols[i] < 0) std::abort();
        total = total + double(result.top_log_probs[i]);
      }
      for (int64_t i = result.attention_offsets[n]; result.attention && i < result.attention_offsets[n + 1]; ++i)
        total = total + double(result.attention[i]);
    }
  }

 public:
  // Traces the first source, mostly with one model; reads the whole trace.
  void trace() {
    r_.num_sources = std::min<int64_t>(r_.num_sources, one_in(50) ? 2 : 1);
    r_.num_models = one_in(50) ? 2 : 1;
    r_.num_guides = one_in(50);
    r_.should_stop = nullptr;
    const int64_t length = r_.num_sources ? source_offsets_[1] : 1;
    std::vector<float> weights(size_t(peephole_model_places(model_, length)), one_in(50) ? NAN : 1.0f);
    const peephole_trace_request request{&r_, one_in(50) ? 0 : 1 + below(9), below(9) - 4, one_in(50) ? nullptr : weights.data()};
    peephole_trace *trace = nullptr;
    char message[200] = "";
    if (peephole_trace_make(&request, &trace, message, sizeof message)) return check_message(message);
    volatile double total = 0;
    for (int64_t t = 0; t < trace->num_symbols; ++t)
      for (int64_t k = 0; k < trace->num_alternatives; ++k)
        total = total + double(trace->top_log_probs[t * trace->num_alternatives + k]) + trace->log_probs[t];
    for (int64_t a = 0; a < trace->num_arrays; ++a) {
      const peephole_array &array = trace->arrays[a];
      for (int64_t i = 0; i < array.shape[0] * array.shape[1] * array.shape[2]; ++i) total = total + double(array.numbers[i]);
    }
    for (int64_t n = 0; n < trace->num_nodes; ++n) {
      if (trace->parents[n] < -1 || trace->parents[n] >= n || trace->fates[n] > PEEPHOLE_PHRASES) std::abort();
      total = total + trace->scores[n] + trace->node_log_probs[n];
    }
    peephole_trace_release(trace);
  }

 private:
  void constrain(int64_t sources) {
    r_.num_guides = one_in(8) ? below(3) : 0;
    guide_weights_[0] = one_in(50) ? 0 : 0.5;
    r_.min_length = one_in(50) ? -1 : one_in(2) ? 0 : below(12);
    r_.no_repeat_ngram = one_in(50) ? -1 : one_in(2) ? 0 : below(4);
    r_.length_reward = one_in(50) ? NAN : double(below(3));
    r_.coverage_penalty = one_in(50) ? 1e300 : one_in(2) ? 0 : 0.5;
    r_.diverse_groups = one_in(50) ? below(9) - 1 : one_in(2) ? 0 : r_.beam_size;
    r_.diversity = one_in(50) ? -1 : double(below(3));
    for (int64_t b = 0; b < sources; ++b) {
      for (int64_t phrase = below(3); phrase > 0; --phrase) {
        for (int64_t i = one_in(50) ? 0 : 1 + below(2); i > 0; --i)
          phrases_.push_back(one_in(50) ? symbol(9) : symbol(peephole_model_num_symbols(model_, PEEPHOLE_TARGET)));
        phrase_symbol_offsets_.push_back(int64_t(phrases_.size()));
      }
      phrase_offsets_.push_back(int64_t(phrase_symbol_offsets_.size()) - 1);
    }
  }

  static int32_t stops_at_third_call(void *calls) { return ++*static_cast<int *>(calls) == 3; }
  std::mt19937_64 &random_;
  const peephole_model *model_;
  const peephole_model *models_[2] = {model_, model_};
  peephole_request r_{};
  std::vector<int32_t> sources_, copies_, targets_, phrases_;
  std::vector<int64_t> most_;  // texts to be copied from each source
  std::vector<int64_t> source_offsets_{0}, target_offsets_{0}, max_lengths_, phrase_offsets_{0}, phrase_symbol_offsets_{0};
  double guide_weights_[2] = {0.5, 2};
  std::vector<uint64_t> generators_;
  int calls_ = 0;

  int64_t below(int64_t n) { return int64_t(random_() % uint64_t(n)); }
  bool one_in(int64_t n) { return below(n) == 0; }
  int32_t symbol(int64_t size) { return int32_t(one_in(100) ? below(size + 3) - 1 : PEEPHOLE_UNK + below(size - PEEPHOLE_UNK)); }
};

}  // namespace
