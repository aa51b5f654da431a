// A peephole_result with its memory.
#pragma once

#include <cstdint>
#include <vector>

#include "predict/search.h"

namespace peephole {

struct Result : peephole_result {
  // all: the targets found for each source.
  void gather(const std::vector<std::vector<Found>> &all) {
    bool has_attention = false;
    for (size_t at = 0; at < all.size(); ++at)
      for (const Found &found : all[at]) {
        has_attention |= found.has_attention;
        all_sources.push_back(int64_t(at));
        all_log_probs.push_back(found.log_prob);
        all_symbols.insert(all_symbols.end(), found.symbols.begin(), found.symbols.end());
        all_top_symbols.insert(all_top_symbols.end(), found.top_symbols.begin(), found.top_symbols.end());
        all_top_log_probs.insert(all_top_log_probs.end(), found.top_log_probs.begin(), found.top_log_probs.end());
        all_symbol_log_probs.insert(all_symbol_log_probs.end(), found.log_probs.begin(), found.log_probs.end());
        all_attention.insert(all_attention.end(), found.attention.begin(), found.attention.end());
        all_offsets.push_back(int64_t(all_symbols.size()));
        all_attention_offsets.push_back(int64_t(all_attention.size()));
      }
    num_targets = int64_t(all_sources.size());
    source = all_sources.data();
    log_probs = all_log_probs.data();
    offsets = all_offsets.data();
    symbols = all_symbols.data();
    symbol_log_probs = all_symbol_log_probs.data();
    num_alternatives = all_symbols.empty() ? 0 : int64_t(all_top_symbols.size() / all_symbols.size());
    top_symbols = num_alternatives ? all_top_symbols.data() : nullptr;
    top_log_probs = num_alternatives ? all_top_log_probs.data() : nullptr;
    attention_offsets = all_attention_offsets.data();
    all_attention.reserve(1);  // if all targets are empty, still not NULL, which means no attention
    attention = has_attention ? all_attention.data() : nullptr;
  }

 private:
  std::vector<int64_t> all_sources, all_offsets{0}, all_attention_offsets{0};
  std::vector<double> all_log_probs;
  std::vector<int32_t> all_symbols, all_top_symbols;
  std::vector<float> all_symbol_log_probs, all_top_log_probs, all_attention;
};

}  // namespace peephole
