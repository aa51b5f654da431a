// Loops over tasks on the engine's threads.
#pragma once

#include <cstdint>

#include "simd/tile_registers.h"
#include "runtime/threads.h"

namespace {

// Calls body(task, worker) for every task in [0, tasks); see peephole::parallel.
template <class Body>
void for_tasks(int64_t threads, int64_t tasks, Body body) {
  auto run = [](void *context, int task, int worker) {
    FlushDenormals flush;
    TileRegisters registers;
    (*static_cast<Body *>(context))(int64_t(task), worker);
  };
  peephole::parallel(int(tasks), int(threads), run, &body);
}

}  // namespace
