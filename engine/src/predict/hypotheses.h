// The hypotheses of one source while it is searched.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "predict/generator.h"
#include "predict/phrases.h"
#include "predict/search.h"

namespace peephole {

// A symbol of a hypothesis, with the index of the one before it.
struct Node {
  int64_t parent;  // -1: none
  int32_t symbol;
  float log_prob;
  int64_t attention;  // row of the source's attention
};

struct Live {
  int64_t parent;  // row of the decoder that it continues
  int32_t symbol;  // the decoder's next input
  double score;    // sum of its symbols' scores
  int64_t node;
  int64_t member;  // index among several samples or groups
  Progress progress = {};
  int64_t row = 0;
};

struct Finished {
  double score;
  int64_t node;
};

struct Source {
  int64_t index, slot, length, max_length;
  int64_t places;         // that the decoder attends to
  int64_t num_symbols;    // of the target, and texts of this source that can be copied
  const int32_t *target;  // the prefix, or the given target
  int64_t target_length;
  int64_t steps = 0;
  std::vector<Live> live;
  std::vector<std::vector<Finished>> groups;  // of a beam: the finished ones of each group, best first
  std::vector<Finished> finished;  // the result, best first; of samples and given targets, in their order
  std::vector<Node> nodes;
  std::vector<float> attention;
  std::vector<int32_t> top_symbols;   // of a given target: the most probable ones at each position
  std::vector<float> top_log_probs;   // likewise
  std::vector<Generator> generators;  // of each sample
  Phrases phrases;
  bool done = false;
};

// A source of a request before its search, which reads it into a slot.
inline Source make_source(const Searcher &searcher, const peephole_request &request, int64_t index, int64_t slot) {
  const bool is_given = request.kind == PEEPHOLE_FORCE;
  const int64_t first = request.source_offsets[index], end = request.source_offsets[index + 1];
  Source source{};
  source.index = index;
  source.slot = slot;
  source.length = end - first;
  source.places = searcher.networks[0]->places(source.length);
  source.num_symbols = searcher.num_symbols;
  for (int64_t i = first; searcher.copies && i < end; ++i)
    source.num_symbols = std::max<int64_t>(source.num_symbols, request.copies[i] + 1);
  if (request.target_offsets) {
    source.target = request.targets + request.target_offsets[index];
    source.target_length = request.target_offsets[index + 1] - request.target_offsets[index];
  }
  if (request.kind == PEEPHOLE_BEAM) source.phrases = Phrases(request, index);
  source.max_length = is_given ? source.target_length + 1 : request.max_lengths[index];
  return source;
}

// The symbols, or frames, of a source.
inline const void *input_of(const Searcher &searcher, const peephole_request &request, int64_t index) {
  const int64_t first = request.source_offsets[index];
  if (searcher.input_size) return request.frames + first * searcher.input_size;
  return request.sources + first;
}

// Appends the `count` most probable of some symbols, at least 1, and their log p.
inline void add_most_probable(const Searcher &searcher, const float *log_probs, int64_t num_symbols, int64_t count,
                              std::vector<int32_t> &symbols, std::vector<float> &found) {
  std::vector<int64_t> best(static_cast<size_t>(count));
  const int64_t possible = searcher.largest(log_probs, num_symbols, count, best.data());
  for (int64_t i = 0; i < count; ++i) {  // symbols of probability 0, if these are all, have the lowest numbers
    symbols.push_back(i < possible ? int32_t(best[size_t(i)]) : 0);
    found.push_back(i < possible ? log_probs[best[size_t(i)]] : -std::numeric_limits<float>::infinity());
  }
}

// The symbols of the hypothesis that ends in a node.
inline std::vector<int32_t> symbols_of(const Source &source, int64_t last) {
  std::vector<int32_t> symbols;
  for (int64_t node = last; node >= 0; node = source.nodes[size_t(node)].parent)
    symbols.push_back(source.nodes[size_t(node)].symbol);
  std::reverse(symbols.begin(), symbols.end());
  return symbols;
}

// The target that ends in a node.
inline Found trace(const Source &source, int64_t last, bool with_attention) {
  Found found;
  std::vector<int64_t> path;
  for (int64_t node = last; node >= 0; node = source.nodes[size_t(node)].parent) path.push_back(node);
  found.has_attention = with_attention;
  found.top_symbols = source.top_symbols;
  found.top_log_probs = source.top_log_probs;
  for (size_t i = path.size(); i-- > 0;) {
    const Node &node = source.nodes[size_t(path[i])];
    found.symbols.push_back(node.symbol);
    found.log_probs.push_back(node.log_prob);
    found.log_prob += double(node.log_prob);
    if (!with_attention || node.symbol == PEEPHOLE_EOS) continue;
    const float *weights = source.attention.data() + node.attention * source.places;
    found.attention.insert(found.attention.end(), weights, weights + source.places);
  }
  return found;
}

}  // namespace peephole
