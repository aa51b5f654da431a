// Aligned memory. Compiled once, so that the code for each instruction set contains no function of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace peephole {

// Moves an array of *size elements to memory for at least `wanted`, on 64 bytes, and updates *size; the array grows by at
// least half. Throws std::bad_alloc.
void *enlarge(void *array, int64_t *size, int64_t wanted, size_t element_bytes);
void release(void *memory);

}  // namespace peephole
