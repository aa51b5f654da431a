// Search over packed models: beam search, sampling, and scoring of given targets, as peephole/search defines them in
// Python.
#pragma once

#include <cstdint>
#include <vector>

#include "peephole.h"
#include "predict/network.h"
#include "runtime/kernels.h"

namespace peephole {

// One target found for a source.
struct Found {
  std::vector<int32_t> symbols;   // with </s> where it was predicted
  std::vector<float> log_probs;   // of each
  std::vector<int32_t> top_symbols;  // the most probable ones at each position of a given target, as many as wanted
  std::vector<float> top_log_probs;  // likewise
  bool has_attention = false;     // and the request wants it
  std::vector<float> attention;   // (symbols without </s>, places of the source)
  double log_prob = 0;
};

// A network whose weighted log-probabilities a search adds to those of its models.
struct Guide {
  const Network *network;
  double weight;  // above 0
};

struct Searcher {
  std::vector<const Network *> networks;
  std::vector<Guide> guides;
  double ctc_weight;  // λ of (36); 0: attention alone
  FindLargest largest;
  int64_t num_symbols;  // V
  int64_t input_size;   // F, numbers in a frame; 0: sources are symbols
  bool copies;          // the networks copy symbols of the source
};

// Finds the targets of every source. The request has been checked.
// Throws std::bad_alloc; std::runtime_error where a model gives no symbol a probability; Stopped if the caller's function
// stops it.
std::vector<std::vector<Found>> search(const Searcher &searcher, const peephole_request &request);

}  // namespace peephole
