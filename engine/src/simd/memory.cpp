#include "simd/memory.h"

#include <cstdlib>
#include <new>

namespace peephole {

void *allocate(size_t bytes) {
  void *memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
  if (!memory) throw std::bad_alloc();
  return memory;
}

void release(void *memory) { std::free(memory); }

}  // namespace peephole
