#include "predict/session.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "predict/session_worker.h"
#include "runtime/threads.h"

namespace peephole {
namespace {

constexpr int64_t kMostUnread = 512;  // symbols or frames that a worker reads in a step; a longer source is read alone
constexpr int64_t kBatchShare = 8;    // while sources wait, new ones are read once 1 / 8 of the places are free
constexpr size_t kMostIdleGroups = 4;

}  // namespace

class Session::State {
 public:
  State(int threads, int64_t places) : threads_(threads), places_(places) {}

  void add(int64_t ticket, const Searcher &searcher, const peephole_request &request) {
    if (Member::most_rows(request) > places_)
      throw std::invalid_argument((request.kind == PEEPHOLE_BEAM ? "beam_size" : "nbest") +
                                  std::string(": wanted at most the session's places, ") + std::to_string(places_) + ", got " +
                                  std::to_string(Member::most_rows(request)));
    auto member = std::make_unique<Member>(ticket, searcher, request);
    const int64_t rows = member->num_rows;
    std::lock_guard<std::mutex> lock(mutex_);
    if (!members_.emplace(ticket, member.get()).second)
      throw std::invalid_argument("ticket: wanted one that is not in use, got " + std::to_string(ticket));
    try {
      waiting_.push_back({std::move(member), searcher});
    } catch (...) {
      members_.erase(ticket);
      throw;
    }
    waiting_rows_ += rows;
  }

  std::vector<Answer> step() {
    std::lock_guard<std::mutex> one_at_a_time(step_mutex_);
    std::vector<SessionWorker *> busy;
    std::vector<Answer> answers;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      release(answers);
      admit();
      for (auto &group : groups_)
        for (auto &worker : group->workers)
          if (!worker->is_idle()) busy.push_back(worker.get());
    }
    parallel(
        int(busy.size()), threads_,
        [](void *workers, int task, int) { (*static_cast<std::vector<SessionWorker *> *>(workers))[size_t(task)]->step(); },
        &busy);
    std::lock_guard<std::mutex> lock(mutex_);
    release(answers);
    return answers;
  }

  bool cancel(int64_t ticket) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = members_.find(ticket);
    if (found == members_.end()) return false;
    Member *member = found->second;
    members_.erase(found);
    const auto at = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting &w) { return w.member.get() == member; });
    if (at == waiting_.end()) {
      member->is_cancelled = true;  // a step may be using it
      taken_ -= member->num_rows;
    } else {
      waiting_rows_ -= member->num_rows;
      waiting_.erase(at);
    }
    return true;
  }

  SessionCounts counts() const {
    std::lock_guard<std::mutex> lock(mutex_);
    const int64_t waiting = int64_t(waiting_.size());
    return {int64_t(members_.size()) - waiting, waiting, places_ - taken_};
  }

 private:
  // The sources that the same networks extend: those with the same guides and the same weight of CTC.
  struct Group {
    Group(const Searcher &of, int threads) : searcher(of) {
      for (int thread = 0; thread < threads; ++thread) workers.push_back(std::make_unique<SessionWorker>(searcher));
    }
    Searcher searcher;
    std::vector<std::unique_ptr<SessionWorker>> workers;

    bool serves(const Searcher &other) const {
      auto is_same = [](const Guide &a, const Guide &b) { return a.network == b.network && a.weight == b.weight; };
      return other.ctc_weight == searcher.ctc_weight && other.networks == searcher.networks &&
             std::equal(other.guides.begin(), other.guides.end(), searcher.guides.begin(), searcher.guides.end(), is_same);
    }

    bool is_idle() const {
      return std::all_of(workers.begin(), workers.end(), [](const auto &worker) { return worker->is_idle(); });
    }

    SessionWorker &least_busy() const {
      auto has_fewer = [](const auto &a, const auto &b) { return a->num_rows() < b->num_rows(); };
      return **std::min_element(workers.begin(), workers.end(), has_fewer);
    }
  };

  struct Waiting {
    std::unique_ptr<Member> member;
    Searcher searcher;
  };

  const int threads_;
  const int64_t places_;
  std::mutex step_mutex_;
  mutable std::mutex mutex_;  // of everything below but the workers' steps; never held for long
  std::unordered_map<int64_t, Member *> members_;
  std::deque<Waiting> waiting_;
  int64_t waiting_rows_ = 0, taken_ = 0;  // places that waiting sources want, and that active ones have
  std::vector<std::unique_ptr<Group>> groups_;

  // Gives waiting sources to workers. Of a full session they wait for some places to be free, so that the encoder reads
  // several at once.
  void admit() {
    if (waiting_rows_ > places_ - taken_ && places_ - taken_ < places_ / kBatchShare) return;
    while (!waiting_.empty()) {
      Waiting &next = waiting_.front();
      const int64_t rows = next.member->num_rows, length = next.member->length();
      if (rows > places_ - taken_) return;
      SessionWorker &worker = group_of(next.searcher).least_busy();
      if (worker.unread() && worker.unread() + length > kMostUnread) return;
      worker.add(std::move(next.member));
      waiting_.pop_front();
      waiting_rows_ -= rows;
      taken_ += rows;
    }
  }

  Group &group_of(const Searcher &searcher) {
    for (auto &group : groups_)
      if (group->serves(searcher)) return *group;
    groups_.push_back(std::make_unique<Group>(searcher, threads_));
    return *groups_.back();
  }

  // Takes the answers of sources that are over out of the workers. The guides of a group may end with its last source.
  void release(std::vector<Answer> &answers) {
    answers.reserve(answers.size() + members_.size() - waiting_.size());
    for (auto &group : groups_)
      for (auto &worker : group->workers)
        worker->release([&](Member &member) {
          answers.push_back({member.ticket, member.error, std::move(member.found)});
          members_.erase(member.ticket);
          taken_ -= member.num_rows;
        });
    size_t idle = 0;
    auto is_unwanted = [&](const std::unique_ptr<Group> &group) {
      return group->is_idle() && (!group->searcher.guides.empty() || ++idle > kMostIdleGroups);
    };
    groups_.erase(std::remove_if(groups_.begin(), groups_.end(), is_unwanted), groups_.end());
  }
};

Session::Session(int threads, int64_t places) : state_(new State(threads, places)) {}
Session::~Session() = default;
void Session::add(int64_t ticket, const Searcher &searcher, const peephole_request &request) {
  state_->add(ticket, searcher, request);
}
std::vector<Answer> Session::step() { return state_->step(); }
bool Session::cancel(int64_t ticket) { return state_->cancel(ticket); }
SessionCounts Session::counts() const { return state_->counts(); }

}  // namespace peephole
