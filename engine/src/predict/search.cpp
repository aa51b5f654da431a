#include "predict/search.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>

#include "predict/strategy.h"
#include "runtime/team.h"
#include "runtime/threads.h"
#include "runtime/watch.h"

namespace peephole {
namespace {

constexpr int64_t kMostRead = 8192;  // source symbols or frames read at a time
constexpr int kMostHelpers = 7;  // of a worker
constexpr int64_t kMostRows = 1 << 14;  // of a worker, however large the batch: more are not faster

class Worker {
 public:
  Worker(const Searcher &searcher, const peephole_request &request, std::vector<std::vector<Found>> &results,
         int64_t capacity)
      : searcher_(searcher), request_(request), results_(results), capacity_(capacity),
        models_(searcher), strategy_(searcher, request, models_) {
    for (int64_t slot = 0; slot < capacity; ++slot) free_.push_back(slot);
  }

  // Searches until no source is left. A finished source is replaced by another at once.
  void run(const std::vector<int64_t> &order, std::atomic<int64_t> &next) {
    for (;;) {
      if (int64_t(active_.size()) * 2 <= capacity_) admit(order, next);
      if (active_.empty()) return;
      rows_.clear();
      for (auto &source : active_) rows_.add(source);
      rows_.step(models_);
      for (auto &source : active_) {
        strategy_.extend(source);
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
  Strategy strategy_;
  std::vector<int64_t> free_;
  std::vector<Source> active_;
  Reading reading_;
  Rows rows_;

  void admit(const std::vector<int64_t> &order, std::atomic<int64_t> &next) {
    reading_.clear();
    size_t first = active_.size();
    int64_t read = 0;
    while (!free_.empty() && read < kMostRead) {
      int64_t taken = next.fetch_add(1);
      if (taken >= int64_t(order.size())) break;
      active_.push_back(make_source(searcher_, request_, order[size_t(taken)], free_.back()));
      free_.pop_back();
      reading_.add(searcher_, request_, active_.back());
      read += active_.back().length;
    }
    if (reading_.empty()) return;
    int64_t row = reading_.read(models_);
    for (size_t s = first; s < active_.size(); ++s, ++row) strategy_.start(active_[s], row);
  }

  void finish(const Source &source) {
    results_[size_t(source.index)] = strategy_.found(source);
    free_.push_back(source.slot);
  }
};

void ask(void *watch) { static_cast<Watch *>(watch)->ask(); }

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
  // Threads that have no source of their own help the others.
  int helpers = threads ? std::min(request.threads / threads - 1, kMostHelpers) : 0;
  int64_t hypotheses = request.kind == PEEPHOLE_BEAM ? request.beam_size : request.kind == PEEPHOLE_SAMPLE ? request.nbest : 1;
  int64_t capacity = std::min((most + threads - 1) / std::max(threads, 1), std::max<int64_t>(1, kMostRows / hypotheses));
  struct Shared {
    const std::vector<int64_t> &order;
    Watch watch;
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<std::unique_ptr<Team>> teams;
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::exception_ptr error;
  } shared{order, {request.should_stop, request.should_stop_context}, {}, {}, {}, {}, {}};
  for (int worker = 0; worker < threads; ++worker)
    shared.workers.emplace_back(new Worker(searcher, request, results, capacity));
  for (int worker = 0; helpers > 0 && worker < threads; ++worker) shared.teams.emplace_back(new Team(helpers));
  parallel(
      threads * (1 + helpers), threads * (1 + helpers),
      [](void *context, int task, int thread) {
        auto &all = *static_cast<Shared *>(context);
        Watched watched(all.watch, thread == 0);
        const int workers = int(all.workers.size()), worker = task % workers;
        Team *team = all.teams.empty() ? nullptr : all.teams[size_t(worker)].get();
        if (task >= workers) return team->help(task / workers - 1, thread == 0 ? ask : nullptr, &all.watch);
        Leads leads(team);
        try {
          all.workers[size_t(task)]->run(all.order, all.next);
        } catch (const Stopped &) {
        } catch (...) {
          all.watch.stop();
          std::lock_guard<std::mutex> lock(all.mutex);
          all.error = std::current_exception();
        }
      },
      &shared, [](void *context) { ask(&static_cast<Shared *>(context)->watch); });
  if (shared.watch.caller_stops()) throw Stopped{};
  if (shared.error) std::rethrow_exception(shared.error);
  return results;
}

}  // namespace peephole
