#include "simd/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace peephole {

namespace {

constexpr size_t kHugePage = 2 << 20, kManyBytes = 2 * kHugePage;

// Returns memory on 64 bytes, or NULL. Large memory gets huge pages where the system has them: a training step reads and
// writes more memory than the processor stores addresses of small pages for.
void *allocate(size_t bytes) {
  const bool many = bytes >= kManyBytes;
  const size_t alignment = many ? kHugePage : 64;
  void *memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#if defined(__linux__)
  if (memory && many) madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: it may fail
#endif
  return memory;
}

}  // namespace

void *enlarge(void *array, int64_t *size, int64_t wanted, size_t element_bytes) {
  const int64_t larger = std::max(wanted, *size + *size / 2);
  void *memory = allocate(size_t(larger) * element_bytes + 64);
  if (!memory) throw std::bad_alloc();
  if (*size) std::memcpy(memory, array, size_t(*size) * element_bytes);
  std::free(array);
  *size = larger;
  return memory;
}

void release(void *memory) { std::free(memory); }

}  // namespace peephole
