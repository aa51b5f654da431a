// The engine's threads. They sleep between jobs and leave the processor to other processes.
#pragma once

namespace peephole {

// Calls run(context, task, worker) for every task in [0, tasks), on at most `threads` threads including the caller's.
// Tasks are handed out in order; worker is in [0, threads) and no two tasks share one at the same time. Returns when
// all are done. If the threads are busy with another caller's job, the caller runs all tasks itself.
//
// If `waiting` is not NULL, the caller calls it now and then while it waits for the other threads. It must not throw.
void parallel(int tasks, int threads, void (*run)(void *context, int task, int worker), void *context,
              void (*waiting)(void *context) = nullptr);

}  // namespace peephole
