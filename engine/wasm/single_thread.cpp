// What the engine and its C++ runtime take from a system with threads and exceptions.
#include <chrono>
#include <ctime>

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

void parallel(int tasks, int, void (*run)(void *, int, int), void *context, void (*)(void *)) {
  for (int task = 0; task < tasks; ++task) run(context, task, 0);
}

}  // namespace peephole
