// Divides work among the threads of a team, for tests under ThreadSanitizer: every part runs once, an exception reaches the
// leader, helpers that sleep, come late or never come do no harm. Prints how many parts helpers ran.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/share.h"
#include "runtime/team.h"

namespace {

constexpr int64_t kCount = 1000, kLarge = 1 << 30;

void check(bool holds, const char *what) {
  if (holds) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

// Runs work on every number of [0, kCount) once, and counts what other threads than the leader's did.
int64_t run_once(int64_t round) {
  std::vector<int64_t> done(kCount);  // not atomic: parts do not overlap
  std::atomic<int64_t> helped{0};
  const std::thread::id leader = std::this_thread::get_id();
  share_range(kLarge, kCount, [&](int64_t first, int64_t end) {
    // A team that rested when the range was divided, so that it is one part, may have rested enough by now
    if (end - first < kCount) check(peephole::sharers(kLarge) == 1, "a part shares its work again");
    if (std::this_thread::get_id() != leader) {
      helped += 1;
      if (round % 20 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));  // the leader has to wait
    }
    for (int64_t i = first; i < end; ++i) done[size_t(i)] += round + i;
  });
  for (int64_t i = 0; i < kCount; ++i) check(done[size_t(i)] == round + i, "a number was not visited once");
  return helped;
}

void lead(peephole::Team &team, int64_t rounds, int64_t &helped) {
  peephole::Leads leads(&team);
  check(peephole::sharers(1000) == 1, "little work is shared");
  for (int64_t round = 0; round < rounds; ++round) {
    helped += run_once(round);
    if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // helpers fall asleep
    if (round % 10 == 0) {
      bool caught = false;
      try {
        share_range(kLarge, 4, [&](int64_t first, int64_t end) {
          if (first <= round / 10 % 4 && round / 10 % 4 < end) throw std::runtime_error("part");
        });
      } catch (const std::runtime_error &) {
        caught = true;
      }
      check(caught, "an exception is lost");
    }
  }
}

}  // namespace

int main(int argc, char **argv) {
  const int64_t rounds = argc > 1 ? std::atoll(argv[1]) : 1000;
  int64_t helped = 0;
  for (int64_t helpers : {0, 1, 3}) {
    peephole::Team team(helpers);
    std::vector<std::thread> threads;
    for (int64_t helper = 0; helper < helpers; ++helper)
      if (helper != 2)  // one never comes
        threads.emplace_back([&, helper] { team.help(helper, nullptr, nullptr); });
    lead(team, rounds, helped);
    for (std::thread &thread : threads) thread.join();
    if (helpers) team.help(helpers - 1, nullptr, nullptr);  // or comes after the end
  }
  std::printf("helpers ran %lld parts\n", static_cast<long long>(helped));
}
