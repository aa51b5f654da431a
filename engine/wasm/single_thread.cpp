// What the engine and its C++ runtime take from a system with threads and exceptions.
#include <chrono>
#include <ctime>

#include "runtime/share.h"
#include "runtime/team.h"
#include "runtime/threads.h"

// The tag of C++ exceptions, which all code refers to.
asm(".globl __cpp_exception\n"
    ".tagtype __cpp_exception i32\n"
    "__cpp_exception:\n");

_LIBCPP_BEGIN_NAMESPACE_STD
chrono::steady_clock::time_point chrono::steady_clock::now() noexcept {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time_point(seconds(time.tv_sec) + nanoseconds(time.tv_nsec));
}
_LIBCPP_END_NAMESPACE_STD

namespace peephole {

struct Team::Seat {};
Team::Team(int64_t) {}
Team::~Team() = default;
void Team::help(int64_t, void (*)(void *), void *) {}
Leads::Leads(Team *team) : team_(team), outer_(nullptr) {}
Leads::~Leads() = default;
int64_t sharers(int64_t) { return 1; }
void share(int64_t, void (*)(void *, int64_t), void *) {}

void parallel(int tasks, int, void (*run)(void *, int, int), void *context, void (*)(void *)) {
  for (int task = 0; task < tasks; ++task) run(context, task, 0);
}

}  // namespace peephole
