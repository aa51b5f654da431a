#include "predict/trace.h"

#include <algorithm>
#include <memory>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "predict/beam.h"

namespace peephole {
namespace {

// Collects named arrays row by row.
class ArrayRecorder final : public Recorder {
 public:
  explicit ArrayRecorder(std::vector<TracedArray> &arrays) : arrays_(arrays) {}

  void record(const char *part, int64_t layer, int64_t direction, const char *name, int64_t row, const float *numbers,
              int64_t size) override {
    std::string whole = part;
    if (layer >= 0) whole += "." + std::to_string(layer);
    if (direction >= 0) whole += "." + std::to_string(direction);
    if (name) whole += std::string(".") + name;
    auto [found, is_new] = index_.emplace(whole, arrays_.size());
    if (is_new) arrays_.push_back({whole, {0, size}, {}});
    TracedArray &array = arrays_[found->second];
    array.shape[0] = std::max(array.shape[0], row + 1);
    array.numbers.resize(size_t(array.shape[0] * size));
    std::copy_n(numbers, size, array.numbers.begin() + row * size);
  }

  // Gives the arrays that have not a row for each step their shapes. `places`: S.
  void finish(int64_t places) {
    for (TracedArray &array : arrays_) {
      const int64_t rows = array.shape[0], columns = array.shape[1];
      if (array.name.rfind("bridge.", 0) == 0) array.shape = {columns};
      if (array.name == "copy.gate") array.shape = {rows};
      if (array.name == "attention.heads") array.shape = {rows, columns / places, places};
    }
  }

 private:
  std::vector<TracedArray> &arrays_;
  std::unordered_map<std::string, size_t> index_;
};

// Records each step of a beam as a tree.
class TreeObserver final : public BeamObserver {
 public:
  TreeObserver(const Searcher &searcher, int64_t top, Models &models, TracedBeam &tree)
      : searcher_(searcher), top_(top), models_(models), tree_(tree) {}

  void begin_step(const Source &source) override {
    const size_t size = size_t(source.num_symbols);
    scores_.resize(source.live.size() * size);
    log_probs_.resize(source.live.size() * size);
    for (size_t at = 0; at < source.live.size(); ++at) {
      std::copy_n(models_.scores(source.live[at].row), size, scores_.begin() + int64_t(at * size));
      std::copy_n(models_.log_probs(source.live[at].row), size, log_probs_.begin() + int64_t(at * size));
    }
    kept_.clear();
  }

  void keep(const Source &source, int64_t live, const Extension &extension, int64_t node) override {
    const Live &from = source.live[size_t(live)];
    kept_.insert({live, extension.symbol});
    index_[node] = int64_t(tree_.parents.size());
    add(source, live, extension.symbol, extension.score,
        extension.symbol == PEEPHOLE_EOS ? PEEPHOLE_BEATEN : PEEPHOLE_HOPELESS);  // unless something else becomes of it
    if (from.node >= 0) tree_.fates[size_t(index_[from.node])] = PEEPHOLE_EXPANDED;
  }

  void end_step(const Source &source) override {
    const int64_t size = source.num_symbols;
    best_.resize(size_t(std::min(top_, size)));
    for (int64_t live = 0; live < int64_t(source.live.size()); ++live) {
      const Live &from = source.live[size_t(live)];
      if (from.node >= 0) tree_.fates[size_t(index_[from.node])] = PEEPHOLE_EXPANDED;
      const float *scores = scores_.data() + live * size;
      const int64_t found = searcher_.largest(scores, size, int64_t(best_.size()), best_.data());
      for (int64_t i = 0; i < found; ++i) {
        const int32_t symbol = int32_t(best_[size_t(i)]);
        if (!kept_.count({live, symbol}))
          add(source, live, symbol, from.score + double(scores[symbol]), why_dropped(source, from, symbol));
      }
    }
  }

  // Once the search has ended.
  void finish(const Source &source) {
    std::set<std::vector<int32_t>> returned, seen;
    for (const Finished &finished : source.finished) returned.insert(symbols_of(source, finished.node));
    std::vector<std::pair<int64_t, int64_t>> nodes;  // in the tree, and of the search
    for (const auto &[node, index] : index_) nodes.emplace_back(index, node);
    std::sort(nodes.begin(), nodes.end());
    for (const auto &[index, node] : nodes) {
      int32_t &fate = tree_.fates[size_t(index)];
      if (fate != PEEPHOLE_BEATEN && fate != PEEPHOLE_HOPELESS) continue;
      const std::vector<int32_t> symbols = symbols_of(source, node);
      const bool is_returned = returned.count(symbols) > 0;
      if (fate == PEEPHOLE_BEATEN && is_returned)
        fate = seen.insert(symbols).second ? PEEPHOLE_RETURNED : PEEPHOLE_DUPLICATE;
      else if (fate == PEEPHOLE_HOPELESS && source.steps == source.max_length)
        fate = is_returned ? PEEPHOLE_UNFINISHED : PEEPHOLE_LENGTH_LIMIT;
    }
  }

 private:
  const Searcher &searcher_;
  const int64_t top_;
  Models &models_;
  TracedBeam &tree_;
  std::vector<float> scores_, log_probs_;  // (live, symbols), before rules
  std::set<std::pair<int64_t, int32_t>> kept_;
  std::unordered_map<int64_t, int64_t> index_;  // of each node of the search in the tree
  std::vector<int64_t> best_;

  void add(const Source &source, int64_t live, int32_t symbol, double score, int32_t fate) {
    const Live &from = source.live[size_t(live)];
    tree_.parents.push_back(from.node < 0 ? -1 : index_[from.node]);
    tree_.steps.push_back(source.steps);
    tree_.symbols.push_back(symbol);
    tree_.log_probs.push_back(double(log_probs_[size_t(live * source.num_symbols + symbol)]));
    tree_.scores.push_back(score);
    tree_.groups.push_back(int32_t(from.member));
    tree_.fates.push_back(fate);
  }

  int32_t why_dropped(const Source &source, const Live &from, int32_t symbol) const {
    if (source.steps <= source.target_length) return PEEPHOLE_OTHER_PREFIX;
    if (!is_predictable(symbol)) return PEEPHOLE_UNPREDICTABLE;
    if (!(models_.scores(from.row)[symbol] > float(kNone)))
      return symbol == PEEPHOLE_EOS ? PEEPHOLE_TOO_SHORT : PEEPHOLE_REPEATED_NGRAM;
    const bool has_room = source.phrases.empty() || source.phrases.to_go(source.phrases.after(from.progress, symbol)) <=
                                                        Extensions::room_after(source, symbol);
    return has_room ? PEEPHOLE_OUTSIDE_BEAM : PEEPHOLE_PHRASES;
  }
};

// Searches the only source of a request, and returns the symbols of its best target.
std::vector<int32_t> search_one(const Searcher &searcher, const peephole_trace_request &r, const float *bent, TracedBeam &tree) {
  const peephole_request &request = *r.request;
  Models models(searcher);
  TreeObserver observer(searcher, r.top, models, tree);
  Beam beam(searcher, request, models, &observer);
  Source source = make_source(searcher, request, 0, 0);
  beam.start(source, models.read({input_of(searcher, request, 0)}, {request.copies}, {source.length}, {source.slot}));
  auto keep_attention = [&](Source &of, int64_t row) {
    if (!(request.coverage_penalty > 0)) return int64_t(0);
    const int64_t at = int64_t(of.attention.size()) / of.places;
    of.attention.resize(size_t((at + 1) * of.places), 0);
    models.add_attention(row, of.length, of.places, of.attention.data() + at * of.places);
    return at;
  };
  while (!source.done) {
    std::vector<int64_t> parents, sizes;
    std::vector<int32_t> symbols;
    for (Live &live : source.live) {
      live.row = int64_t(parents.size());
      parents.push_back(live.parent);
      symbols.push_back(live.symbol);
      sizes.push_back(source.num_symbols);
    }
    if (bent && source.steps == r.bent_step) models.bend(bent);
    models.step(parents, symbols, sizes);
    ++source.steps;
    beam.extend(source, keep_attention);
  }
  if (source.finished.empty())
    throw std::runtime_error("source 0: the model gives no symbol a probability; are its weights finite numbers?");
  observer.finish(source);
  return symbols_of(source, source.finished[0].node);
}

// Records log p, rank and alternatives of a step.
void add_step(const Searcher &searcher, const float *log_probs, int64_t size, int64_t top, int32_t symbol, Trace &trace) {
  const float chosen = log_probs[symbol];
  trace.log_probs.push_back(double(chosen));
  trace.ranks.push_back(1 + std::count_if(log_probs, log_probs + size, [&](float other) { return other > chosen; }));
  add_most_probable(searcher, log_probs, size, top, trace.top_symbols, trace.top_log_probs);
}

}  // namespace

Trace make_trace(const Searcher &searcher, const peephole_trace_request &r, const std::vector<float> &bent) {
  const peephole_request &request = *r.request;
  const float *weights = bent.empty() ? nullptr : bent.data();
  Trace trace;
  const Source source = make_source(searcher, request, 0, 0);
  if (request.kind == PEEPHOLE_BEAM) {
    trace.symbols = search_one(searcher, r, weights, trace.beam);
  } else {
    trace.symbols.assign(source.target, source.target + source.target_length);
    trace.symbols.push_back(PEEPHOLE_EOS);
  }
  const std::unique_ptr<Decoder> decoder(searcher.networks[0]->new_decoder());
  ArrayRecorder recorder(trace.arrays);
  decoder->record_to(&recorder);
  const void *input = input_of(searcher, request, 0);
  const int64_t slot = 0, length = source.length;
  int64_t row = decoder->read(1, &input, &request.copies, &length, &slot);
  int32_t fed = PEEPHOLE_BOS;
  for (size_t t = 0; t < trace.symbols.size(); ++t) {
    if (weights && int64_t(t) == r.bent_step) decoder->bend(weights);
    decoder->step(1, &row, &fed);
    row = 0;
    fed = trace.symbols[t];
    add_step(searcher, decoder->log_probs(0), source.num_symbols, std::min(r.top, source.num_symbols), fed, trace);
  }
  recorder.finish(source.places);
  return trace;
}

}  // namespace peephole
