// A check between parts of a long computation. Compiled once, as simd/memory.h.
#pragma once

#include <cstdint>

namespace peephole {

// Throws Stopped (runtime/watch.h) if the search that this thread works for is to stop. `operations`: those done since
// the last call, roughly; only after some millions of them does a call take more than a few instructions.
void poll(int64_t operations);

}  // namespace peephole
