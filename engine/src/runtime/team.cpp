#include "runtime/team.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/share.h"
#include "runtime/spin.h"

namespace peephole {
namespace {

enum State : int { kIdle, kAsleep, kOpen, kTaken, kOver };

constexpr int64_t kPart = 1 << 16;           // multiplications that are worth another thread: some microseconds
constexpr int64_t kInterruption = 200'000;   // ns; a helper that takes so much longer than the leader was interrupted
constexpr int64_t kRest = 10;                // times the length of the interruption
constexpr std::chrono::milliseconds kWait{20};  // between two calls of `waiting`

thread_local Team *current_team = nullptr;

int64_t steady_ns() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

// The leader opens a part to each helper. A helper takes it, or the leader closes it and does it itself: it never waits
// for a helper that has not begun.
struct alignas(64) Team::Seat {
  std::atomic<int> state{kIdle};
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable wake;

  void change(int to) {
    if (state.exchange(to, std::memory_order_acq_rel) != kAsleep) return;
    { std::lock_guard<std::mutex> lock(mutex); }
    wake.notify_one();
  }
  bool close() {
    int open = kOpen;
    return state.compare_exchange_strong(open, kIdle, std::memory_order_acq_rel);
  }
  bool is(int wanted) const { return state.load(std::memory_order_acquire) == wanted; }
};

Team::Team(int64_t helpers) {
  for (int64_t helper = 0; helper < helpers; ++helper) seats_.emplace_back(new Seat);
}

Team::~Team() = default;

void Team::help(int64_t helper, void (*waiting)(void *), void *context) {
  Seat &seat = *seats_[size_t(helper)];
  for (;;) {
    becomes_true_soon([&] { return seat.is(kOpen) || seat.is(kOver); });
    int seen = kOpen;
    if (seat.state.compare_exchange_strong(seen, kTaken, std::memory_order_acq_rel)) {
      try {
        run_(context_, helper + 1);
      } catch (...) {
        seat.error = std::current_exception();
      }
      seat.state.store(kIdle, std::memory_order_release);
    } else if (seen == kOver) {
      return;
    } else if (seen == kIdle && seat.state.compare_exchange_strong(seen, kAsleep, std::memory_order_acq_rel)) {
      std::unique_lock<std::mutex> lock(seat.mutex);
      while (seat.is(kAsleep))
        if (seat.wake.wait_for(lock, kWait) == std::cv_status::timeout && waiting) waiting(context);
    }
  }
}

bool Team::rests() {
  if (rests_until_ && steady_ns() >= rests_until_) rests_until_ = 0;
  return rests_until_ != 0;
}

void Team::share(int64_t parts, void (*run)(void *, int64_t), void *context) {
  run_ = run;
  context_ = context;
  for (int64_t part = 1; part < parts; ++part) seats_[size_t(part - 1)]->change(kOpen);
  const int64_t began = steady_ns();
  std::exception_ptr error;
  try {
    run(context, 0);
    for (int64_t part = 1; part < parts; ++part)
      if (seats_[size_t(part - 1)]->close()) run(context, part);
  } catch (...) {
    error = std::current_exception();
  }
  const int64_t ended = steady_ns();
  for (int64_t part = 1; part < parts; ++part) {
    Seat &seat = *seats_[size_t(part - 1)];
    seat.close();
    if (!becomes_true_soon([&] { return !seat.is(kTaken); }))
      while (seat.is(kTaken)) std::this_thread::yield();
    if (seat.error && !error) error = seat.error;
    seat.error = nullptr;
  }
  const int64_t waited = steady_ns() - ended;
  if (waited > kInterruption && waited > ended - began) rests_until_ = ended + (kRest + 1) * waited;
  if (error) std::rethrow_exception(error);
}

void Team::dismiss() noexcept {
  for (const auto &seat : seats_) seat->change(kOver);
}

Leads::Leads(Team *team) : team_(team), outer_(current_team) { current_team = team; }

Leads::~Leads() {
  current_team = outer_;
  if (team_) team_->dismiss();
}

int64_t sharers(int64_t operations) {
  if (!current_team || operations < 2 * kPart || current_team->rests()) return 1;
  const int64_t parts = operations / kPart, most = int64_t(current_team->seats_.size()) + 1;
  return parts < most ? parts : most;
}

void share(int64_t parts, void (*run)(void *, int64_t), void *context) {
  Team *team = current_team;
  current_team = nullptr;  // a part does not share its work again
  struct Restore {
    Team *team;
    ~Restore() { current_team = team; }
  } restore{team};
  team->share(parts, run, context);
}

}  // namespace peephole
