#include "predict/search.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>

#include "predict/beam.h"
#include "runtime/threads.h"
#include "runtime/watch.h"

namespace peephole {
namespace {

constexpr int64_t kMostRead = 8192;  // source symbols or frames read at a time
constexpr int64_t kMostRows = 1 << 14;  // of a worker, however large the batch: more are not faster

class Worker {
 public:
  Worker(const Searcher &searcher, const peephole_request &request, std::vector<std::vector<Found>> &results,
         int64_t capacity)
      : searcher_(searcher), request_(request), results_(results), capacity_(capacity),
        models_(searcher), beam_(searcher, request, models_), rules_(request), sampler_(request) {
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
        if (request_.kind == PEEPHOLE_BEAM)
          beam_.extend(source, [this](Source &of, int64_t row) { return keep_attention(of, row); });
        else
          follow(source);
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
  Models models_;
  Beam beam_;
  std::vector<int64_t> free_;
  std::vector<Source> active_;
  std::vector<int64_t> parents_, sizes_;
  std::vector<int32_t> symbols_;
  Rules rules_;
  Sampler sampler_;

  bool is_given() const { return request_.kind == PEEPHOLE_FORCE; }

  void admit(const std::vector<int64_t> &order, std::atomic<int64_t> &next) {
    std::vector<const void *> inputs;
    std::vector<const int32_t *> copies;
    std::vector<int64_t> lengths, slots;
    size_t first = active_.size();
    int64_t read = 0;
    while (!free_.empty() && read < kMostRead) {
      int64_t taken = next.fetch_add(1);
      if (taken >= int64_t(order.size())) break;
      active_.push_back(make_source(searcher_, request_, order[size_t(taken)], free_.back()));
      free_.pop_back();
      Source &source = active_.back();
      inputs.push_back(input_of(searcher_, request_, source.index));
      copies.push_back(searcher_.copies ? request_.copies + request_.source_offsets[source.index] : nullptr);
      lengths.push_back(source.length);
      slots.push_back(source.slot);
      read += source.length;
    }
    if (inputs.empty()) return;
    int64_t row = models_.read(inputs, copies, lengths, slots);
    for (size_t s = first; s < active_.size(); ++s, ++row) start(active_[s], row);
  }

  // Adds the hypotheses without symbols, which continue a row of the decoders.
  void start(Source &source, int64_t row) {
    if (request_.kind == PEEPHOLE_BEAM) return beam_.start(source, row);
    const int64_t members = request_.kind == PEEPHOLE_SAMPLE ? request_.nbest : 1;
    for (int64_t member = 0; member < members; ++member) source.live.push_back({row, PEEPHOLE_BOS, 0, -1, member});
    source.finished.resize(size_t(members));
    if (request_.kind == PEEPHOLE_SAMPLE) start_generators(source);
  }

  // A sample draws its symbol t with the random number s max_length + t of its source, s the number of the sample.
  void start_generators(Source &source) const {
    Generator generator(request_.generators + 4 * source.index);
    for (int64_t member = 0; member < request_.nbest; ++member) {
      source.generators.push_back(generator);
      generator.skip(uint64_t(source.max_length));
    }
  }

  // One step of all models for all hypotheses.
  void feed() {
    parents_.clear();
    symbols_.clear();
    sizes_.clear();
    for (auto &source : active_)
      for (auto &live : source.live) {
        live.row = int64_t(parents_.size());
        parents_.push_back(live.parent);
        symbols_.push_back(live.symbol);
        sizes_.push_back(source.num_symbols);
      }
    models_.step(parents_, symbols_, sizes_);
  }

  // Stores the attention of a row and returns its index.
  int64_t keep_attention(Source &source, int64_t row) {
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
      int32_t likeliest = is_given() ? int32_t(std::max_element(log_probs, log_probs + source.num_symbols) - log_probs) : 0;
      int32_t symbol = next_symbol(source, from, models_.scores(from.row));
      poll(source.num_symbols * (is_given() ? 1 : 64));
      int64_t node = int64_t(source.nodes.size());
      float log_prob = log_probs[symbol];
      if (log_prob != log_prob) fail(source);
      source.nodes.push_back({from.node, symbol, log_prob, likeliest, keep_attention(source, from.row)});
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

  void finish(Source &source) {
    if (source.finished.empty()) fail(source);
    auto &found = results_[size_t(source.index)];
    bool attends = request_.with_attention && models_.any_attention();
    for (const Finished &finished : source.finished) found.push_back(trace(source, finished.node, attends, is_given()));
    free_.push_back(source.slot);
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
