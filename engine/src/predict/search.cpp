#include "predict/search.h"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>

#include "predict/generator.h"
#include "predict/sampling.h"
#include "runtime/poll.h"
#include "runtime/threads.h"
#include "runtime/watch.h"

namespace peephole {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();
constexpr int64_t kMostRead = 8192;  // source symbols or frames read at a time
constexpr int64_t kMostRows = 1 << 14;  // of a worker, however large the batch: more are not faster
constexpr size_t kMostExtensions = 1 << 20;  // above which the best are chosen before all are made

// A symbol of a hypothesis, with the index of the one before it.
struct Node {
  int64_t parent;  // -1: none
  int32_t symbol;
  float log_prob;
  int32_t likeliest;
  int64_t attention;  // row of the source's attention
};

struct Live {
  int64_t parent;  // row of the decoder that it continues
  int32_t symbol;  // the decoder's next input
  double log_prob;
  int64_t node;
  int64_t member;  // index among several samples
  int64_t row = 0;
};

struct Extension {
  double log_prob;
  int64_t live;
  int32_t symbol;
  float symbol_log_prob;
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
  std::vector<Finished> finished;  // best first; of samples and given targets, in their order
  std::vector<Node> nodes;
  std::vector<float> attention;
  std::vector<Generator> generators;  // of each sample
  bool done = false;
};

// The factor of log p in the score log p / length^penalty. It is above 0, so that no score is 0 · -infinity.
double length_factor(int64_t length, double penalty) {
  return std::max(std::pow(double(length), -penalty), DBL_MIN);
}

class Worker {
 public:
  Worker(const Searcher &searcher, const peephole_request &request, std::vector<std::vector<Found>> &results,
         int64_t capacity)
      : searcher_(searcher), request_(request), results_(results), capacity_(capacity),
        sampler_(request) {
    for (const Network *network : searcher.networks) decoders_.emplace_back(network->new_decoder());
    for (int64_t slot = 0; slot < capacity; ++slot) free_.push_back(slot);
  }

  // Searches until no source is left. A finished source is replaced by another at once.
  void run(const std::vector<int64_t> &order, std::atomic<int64_t> &next) {
    for (;;) {
      if (int64_t(active_.size()) * 2 <= capacity_) admit(order, next);
      if (active_.empty()) return;
      feed();
      for (auto &source : active_) {
        ++source.steps;
        request_.kind == PEEPHOLE_BEAM ? extend(source) : follow(source);
        if (source.done) finish(source);
      }
      active_.erase(std::remove_if(active_.begin(), active_.end(), [](const Source &s) { return s.done; }), active_.end());
    }
  }

 private:
  const Searcher &searcher_;
  const peephole_request &request_;
  std::vector<std::vector<Found>> &results_;
  const int64_t capacity_;
  std::vector<std::unique_ptr<Decoder>> decoders_;
  std::vector<int64_t> free_;
  std::vector<Source> active_;
  std::vector<int64_t> parents_, indices_;
  std::vector<int32_t> symbols_;
  std::vector<Extension> extensions_;
  Sampler sampler_;

  bool is_given() const { return request_.kind == PEEPHOLE_FORCE; }
  float *log_probs(int64_t row) const { return decoders_[0]->log_probs(row); }

  void admit(const std::vector<int64_t> &order, std::atomic<int64_t> &next) {
    std::vector<const void *> inputs;
    std::vector<const int32_t *> copies;
    std::vector<int64_t> lengths, slots;
    size_t first = active_.size();
    int64_t read = 0;
    while (!free_.empty() && read < kMostRead) {
      int64_t taken = next.fetch_add(1);
      if (taken >= int64_t(order.size())) break;
      active_.push_back(make_source(order[size_t(taken)]));
      Source &source = active_.back();
      inputs.push_back(input_of(source));
      copies.push_back(searcher_.copies ? request_.copies + request_.source_offsets[source.index] : nullptr);
      lengths.push_back(source.length);
      slots.push_back(source.slot);
      read += source.length;
    }
    if (inputs.empty()) return;
    int64_t row = 0;
    for (auto &decoder : decoders_)
      row = decoder->read(int64_t(inputs.size()), inputs.data(), copies.data(), lengths.data(), slots.data());
    int64_t members = request_.kind == PEEPHOLE_SAMPLE ? request_.nbest : 1;
    for (size_t s = first; s < active_.size(); ++s, ++row) {
      for (int64_t member = 0; member < members; ++member) active_[s].live.push_back({row, PEEPHOLE_BOS, 0, -1, member});
      if (request_.kind != PEEPHOLE_BEAM) active_[s].finished.resize(size_t(members));
      if (request_.kind == PEEPHOLE_SAMPLE) start_generators(active_[s]);
    }
  }

  // A sample draws its symbol t with the random number s max_length + t of its source, s the number of the sample.
  void start_generators(Source &source) const {
    Generator generator(request_.generators + 4 * source.index);
    for (int64_t member = 0; member < request_.nbest; ++member) {
      source.generators.push_back(generator);
      generator.skip(uint64_t(source.max_length));
    }
  }

  const void *input_of(const Source &source) const {
    const int64_t first = request_.source_offsets[source.index];
    if (searcher_.input_size) return request_.frames + first * searcher_.input_size;
    return request_.sources + first;
  }

  Source make_source(int64_t index) {
    Source source{};
    source.index = index;
    source.slot = free_.back();
    free_.pop_back();
    source.length = request_.source_offsets[index + 1] - request_.source_offsets[index];
    source.places = searcher_.networks[0]->places(source.length);
    source.num_symbols = searcher_.num_symbols;
    for (int64_t i = request_.source_offsets[index]; searcher_.copies && i < request_.source_offsets[index + 1]; ++i)
      source.num_symbols = std::max<int64_t>(source.num_symbols, request_.copies[i] + 1);
    if (request_.target_offsets) {
      source.target = request_.targets + request_.target_offsets[index];
      source.target_length = request_.target_offsets[index + 1] - request_.target_offsets[index];
    }
    source.max_length = is_given() ? source.target_length + 1 : request_.max_lengths[index];
    return source;
  }

  // One step of all models for all hypotheses, and the mean of their probabilities.
  void feed() {
    parents_.clear();
    symbols_.clear();
    for (auto &source : active_)
      for (auto &live : source.live) {
        live.row = int64_t(parents_.size());
        parents_.push_back(live.parent);
        symbols_.push_back(live.symbol);
      }
    int64_t n = int64_t(parents_.size());
    for (auto &decoder : decoders_) decoder->step(n, parents_.data(), symbols_.data());
    if (decoders_.size() == 1) return;
    for (auto &source : active_)
      for (auto &live : source.live) average(live.row, source.num_symbols);
  }

  void average(int64_t row, int64_t num_symbols) {
    const double log_count = std::log(double(decoders_.size()));
    for (int64_t v = 0; v < num_symbols; ++v) {
      double most = kNone, total = 0;
      for (auto &decoder : decoders_) most = std::max(most, double(decoder->log_probs(row)[v]));
      for (auto &decoder : decoders_) total += std::exp(double(decoder->log_probs(row)[v]) - most);
      log_probs(row)[v] = float(std::min(0.0, most + std::log(total) - log_count));
      poll(int64_t(decoders_.size()) * 64);
    }
  }

  // Stores the attention of a row, the mean over the models with attention to as many places as the first has, and
  // returns its index.
  int64_t keep_attention(Source &source, int64_t row) {
    int64_t at = int64_t(source.attention.size()) / source.places, count = 0;
    if (!request_.with_attention) return 0;
    source.attention.resize(size_t((at + 1) * source.places), 0);
    float *to = source.attention.data() + at * source.places;
    for (size_t m = 0; m < decoders_.size(); ++m) {
      const float *weights = decoders_[m]->attention(row);
      if (!weights || searcher_.networks[m]->places(source.length) != source.places) continue;
      ++count;
      for (int64_t j = 0; j < source.places; ++j) to[j] += weights[j];
    }
    for (int64_t j = 0; count > 1 && j < source.places; ++j) to[j] /= float(count);
    return at;
  }

  // Beam search: the K best extensions of a source's hypotheses.
  void extend(Source &source) {
    find_extensions(source);
    std::vector<Live> live;
    std::vector<int64_t> attention(source.live.size(), -1);
    double factor = length_factor(source.steps, request_.length_penalty);
    for (const Extension &best : extensions_) {
      const Live &from = source.live[size_t(best.live)];
      int64_t &kept = attention[size_t(best.live)];
      if (kept < 0) kept = keep_attention(source, from.row);
      int64_t node = int64_t(source.nodes.size());
      source.nodes.push_back({from.node, best.symbol, best.symbol_log_prob, 0, kept});
      if (best.symbol == PEEPHOLE_EOS)
        file(source, {best.log_prob * factor, node});
      else
        live.push_back({from.row, best.symbol, best.log_prob, node, 0});
    }
    source.live = std::move(live);
    bool is_cut = source.steps == source.max_length;
    if (is_cut && source.finished.empty())
      for (const Live &unfinished : source.live) file(source, {unfinished.log_prob * factor, unfinished.node});
    if (int64_t(source.finished.size()) == request_.nbest) drop_hopeless(source);
    source.done = is_cut || source.live.empty();
  }

  void find_extensions(Source &source) {
    extensions_.clear();
    for (size_t at = 0; at < source.live.size(); ++at) {
      const Live &live = source.live[at];
      float *scores = log_probs(live.row);
      int64_t count = 1;
      indices_.resize(size_t(std::min<int64_t>(request_.beam_size, source.num_symbols)));
      if (source.steps <= source.target_length) {
        indices_[0] = source.target[source.steps - 1];
        count = scores[indices_[0]] > kNone;
      } else {
        for (int64_t v = 0; v <= PEEPHOLE_UNK; ++v)
          if (!is_predictable(v)) scores[v] = float(kNone);
        count = searcher_.largest(scores, source.num_symbols, int64_t(indices_.size()), indices_.data());
      }
      for (int64_t i = 0; i < count; ++i) {
        float score = scores[indices_[size_t(i)]];
        extensions_.push_back({live.log_prob + double(score), int64_t(at), int32_t(indices_[size_t(i)]), score});
      }
      if (extensions_.size() > kMostExtensions && int64_t(extensions_.size()) / 2 > request_.beam_size) keep_best();
      poll(source.num_symbols + count * 64);
    }
    keep_best();
  }

  // The K best of `extensions_`; of equal ones, the first.
  void keep_best() {
    std::stable_sort(extensions_.begin(), extensions_.end(),
                     [](const Extension &a, const Extension &b) { return a.log_prob > b.log_prob; });
    if (int64_t(extensions_.size()) > request_.beam_size) extensions_.resize(size_t(request_.beam_size));
  }

  // Keeps the nbest best; of equal ones, the first.
  void file(Source &source, Finished finished) {
    auto &all = source.finished;
    auto at = std::upper_bound(all.begin(), all.end(), finished,
                               [](const Finished &a, const Finished &b) { return a.score > b.score; });
    poll(all.end() - at);
    all.insert(at, finished);
    if (int64_t(all.size()) > request_.nbest) all.pop_back();
  }

  // Removes hypotheses whose score upper bound does not exceed the worst finished score: log p never increases, so the
  // bound is that of the maximum length with the present log p.
  void drop_hopeless(Source &source) {
    double factor = length_factor(source.max_length, request_.length_penalty), worst = source.finished.back().score;
    auto &live = source.live;
    live.erase(std::remove_if(live.begin(), live.end(), [=](const Live &l) { return l.log_prob * factor <= worst; }),
               live.end());
  }

  // Samples and given targets: each hypothesis is extended by one symbol.
  void follow(Source &source) {
    std::vector<Live> live;
    for (const Live &from : source.live) {
      float *scores = log_probs(from.row);
      int32_t likeliest = is_given() ? int32_t(std::max_element(scores, scores + source.num_symbols) - scores) : 0;
      int32_t symbol = next_symbol(source, from, scores);
      poll(source.num_symbols * (is_given() ? 1 : 64));
      int64_t node = int64_t(source.nodes.size());
      float score = scores[symbol];
      if (score != score) fail(source);
      source.nodes.push_back({from.node, symbol, score, likeliest, keep_attention(source, from.row)});
      if (symbol == PEEPHOLE_EOS || source.steps == source.max_length)
        source.finished[size_t(from.member)].node = node;
      else
        live.push_back({from.row, symbol, from.log_prob + double(score), node, from.member});
    }
    source.live = std::move(live);
    source.done = source.live.empty();
  }

  int32_t next_symbol(Source &source, const Live &live, const float *scores) {
    const double u = is_given() ? 0 : source.generators[size_t(live.member)].uniform();  // forced symbols use one, too
    if (source.steps <= source.target_length) return source.target[source.steps - 1];
    return is_given() ? PEEPHOLE_EOS : sampler_.draw(scores, source.num_symbols, u);
  }

  [[noreturn]] static void fail(const Source &source) {
    throw std::runtime_error("source " + std::to_string(source.index) +
                             ": the model gives no symbol a probability; are its weights finite numbers?");
  }

  void finish(Source &source) {
    if (source.finished.empty()) fail(source);
    auto &found = results_[size_t(source.index)];
    for (const Finished &finished : source.finished) found.push_back(trace(source, finished.node));
    free_.push_back(source.slot);
  }

  Found trace(const Source &source, int64_t last) const {
    Found found;
    std::vector<int64_t> path;
    for (int64_t node = last; node >= 0; node = source.nodes[size_t(node)].parent) path.push_back(node);
    found.has_attention = request_.with_attention && any_attention();
    for (size_t i = path.size(); i-- > 0;) {
      const Node &node = source.nodes[size_t(path[i])];
      found.symbols.push_back(node.symbol);
      found.log_probs.push_back(node.log_prob);
      found.log_prob += double(node.log_prob);
      if (is_given()) found.likeliest.push_back(node.likeliest);
      if (!found.has_attention || node.symbol == PEEPHOLE_EOS) continue;
      const float *weights = source.attention.data() + node.attention * source.places;
      found.attention.insert(found.attention.end(), weights, weights + source.places);
    }
    return found;
  }

  bool any_attention() const {
    for (auto &decoder : decoders_)
      if (decoder->attention(0)) return true;
    return false;
  }
};

}  // namespace

std::vector<std::vector<Found>> search(const Searcher &searcher, const peephole_request &request) {
  int64_t num_sources = request.num_sources;
  std::vector<std::vector<Found>> results(static_cast<size_t>(num_sources));
  std::vector<int64_t> order(static_cast<size_t>(num_sources));
  std::iota(order.begin(), order.end(), 0);
  auto length = [&](int64_t s) { return request.source_offsets[s + 1] - request.source_offsets[s]; };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });

  int64_t most = std::min<int64_t>(request.batch_size, num_sources);  // searched at the same time
  int threads = int(std::min<int64_t>(request.threads, most));
  int64_t hypotheses = request.kind == PEEPHOLE_BEAM ? request.beam_size : request.kind == PEEPHOLE_SAMPLE ? request.nbest : 1;
  int64_t capacity = std::min((most + threads - 1) / std::max(threads, 1), std::max<int64_t>(1, kMostRows / hypotheses));
  struct Shared {
    const std::vector<int64_t> &order;
    Watch watch;
    std::vector<std::unique_ptr<Worker>> workers;
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::exception_ptr error;
  } shared{order, {request.should_stop, request.should_stop_context}, {}, {}, {}, {}};
  for (int worker = 0; worker < threads; ++worker)
    shared.workers.emplace_back(new Worker(searcher, request, results, capacity));
  parallel(
      threads, threads,
      [](void *context, int task, int thread) {
        auto &all = *static_cast<Shared *>(context);
        Watched watched(all.watch, thread == 0);
        try {
          all.workers[size_t(task)]->run(all.order, all.next);
        } catch (const Stopped &) {
        } catch (...) {
          all.watch.stop();
          std::lock_guard<std::mutex> lock(all.mutex);
          all.error = std::current_exception();
        }
      },
      &shared, [](void *context) { static_cast<Shared *>(context)->watch.ask(); });
  if (shared.watch.caller_stops()) throw Stopped{};
  if (shared.error) std::rethrow_exception(shared.error);
  return results;
}

}  // namespace peephole
