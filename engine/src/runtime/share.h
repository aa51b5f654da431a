// Work within one step of a search, divided among the threads of a team (runtime/team.h).
#pragma once

#include <cstdint>

#include "simd/vector.h"

namespace peephole {

// The threads among which to divide work of about so many multiplications, this one included; 1: it is alone, or the work
// is too small.
int64_t sharers(int64_t operations);

// Calls run(context, part) for every part in [0, parts), parts <= sharers(…), each on some thread of the team. Returns
// when all are done; throws what one of them has thrown.
void share(int64_t parts, void (*run)(void *context, int64_t part), void *context);

}  // namespace peephole

namespace {

// Calls body(first, end) for ranges that cover [0, count), on the threads of this thread's team if that is worth it.
template <class Body>
void share_range(int64_t operations, int64_t count, Body body) {
  int64_t parts = peephole::sharers(operations);
  if (parts > count) parts = count;
  if (parts < 2) return body(int64_t(0), count);
  struct Shared {
    Body &body;
    int64_t count, parts;
  } shared{body, count, parts};
  auto run = [](void *context, int64_t part) {
    FlushDenormals flush;
    const auto &all = *static_cast<Shared *>(context);
    all.body(all.count * part / all.parts, all.count * (part + 1) / all.parts);
  };
  peephole::share(parts, run, &shared);
}

}  // namespace
