#include "simd/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace peephole {

void *enlarge(void *array, int64_t *size, int64_t wanted, size_t element_bytes) {
  const int64_t larger = std::max(wanted, *size + *size / 2);
  void *memory = std::aligned_alloc(64, (size_t(larger) * element_bytes + 63) / 64 * 64 + 64);
  if (!memory) throw std::bad_alloc();
  if (*size) std::memcpy(memory, array, size_t(*size) * element_bytes);
  std::free(array);
  *size = larger;
  return memory;
}

void release(void *memory) { std::free(memory); }

}  // namespace peephole
