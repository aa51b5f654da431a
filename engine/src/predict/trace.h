// Everything of one prediction or of one given target: docs/traces.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "peephole.h"
#include "predict/search.h"

namespace peephole {

struct TracedArray {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> numbers;
};

// The hypotheses that a search considered, in the order of peephole_trace.
struct TracedBeam {
  std::vector<int64_t> parents, steps;
  std::vector<int32_t> symbols, groups, fates;
  std::vector<double> log_probs, scores;
};

struct Trace {
  std::vector<int32_t> symbols, top_symbols;
  std::vector<double> log_probs;
  std::vector<int64_t> ranks;
  std::vector<float> top_log_probs;
  std::vector<TracedArray> arrays;
  TracedBeam beam;
};

// The request has been checked. `bent`: weights of sum 1 for the bent step, or none. Uses no other thread; throws as search().
Trace make_trace(const Searcher &searcher, const peephole_trace_request &request, const std::vector<float> &bent);

}  // namespace peephole
