// Aligned memory. Compiled once, so that the code for each instruction set contains no function of the standard library.
#pragma once

#include <cstddef>

namespace peephole {

// Returns memory that begins on 64 bytes. Throws std::bad_alloc.
void *allocate(size_t bytes);
void release(void *memory);

}  // namespace peephole
