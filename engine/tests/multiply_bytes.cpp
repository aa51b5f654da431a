// Multiplies matrices of bytes as prediction does, in the instruction set that it is compiled for; for tests. Reads from
// standard input the numbers of rows, depth (a multiple of 16) and columns (int64), the rows (float), the columns (float)
// and the step between the numbers of each column (float); writes the product (float).
#include <cstdio>
#include <vector>

#if defined(PEEPHOLE_TILES)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "simd/format_products.h"
#include "simd/matrix.h"

namespace peephole {
void poll(int64_t) {}
int64_t sharers(int64_t) { return 1; }
void share(int64_t, void (*)(void *, int64_t), void *) {}
}  // namespace peephole

template <class T>
static std::vector<T> read(int64_t count) {
  std::vector<T> numbers(static_cast<size_t>(count));
  if (std::fread(numbers.data(), sizeof(T), numbers.size(), stdin) != numbers.size()) std::perror("reading");
  return numbers;
}

int main() {
#if defined(PEEPHOLE_TILES)  // as in runtime/instruction_sets.cpp
  if (syscall(SYS_arch_prctl, 0x1023L, 18L)) return 1;
#endif
  const std::vector<int64_t> sizes = read<int64_t>(3);
  const int64_t rows = sizes[0], depth = sizes[1], columns = sizes[2];
  const std::vector<float> left = read<float>(rows * depth), right = read<float>(columns * depth);
  const std::vector<float> steps = read<float>(columns);
  const NumberFormat format = number_format<Int8>();
  Matrix matrix;
  matrix.pack(format, columns, depth, kPanelVectors, [&](int64_t panel, int v, int lane, float *line) {
    const int64_t column = (panel * kPanelVectors + v) * kLanes<float> + lane;
    if (column >= columns) return 0.0f;
    std::memcpy(line, right.data() + column * depth, size_t(depth) * sizeof(float));
    return steps[size_t(column)];
  });
  Operands operands(format, depth);
  operands.reserve(rows);
  Selection selection;
  selection.clear(rows);
  for (int64_t r = 0; r < rows; ++r) operands.put(r, left.data() + r * depth);
  // An odd number of rows is not at equal distances.
  const auto row_at = [=](int64_t i) { return rows % 2 && i == 0 ? rows - 1 : rows % 2 && i == rows - 1 ? 0 : i; };
  for (int64_t i = 0; i < rows; ++i) selection.add(operands, row_at(i));
  std::vector<float> out(size_t(rows * matrix.columns()));
  matrix.multiply(selection, out.data(), matrix.columns());
  for (int64_t r = 0; r < rows; ++r)
    std::fwrite(out.data() + row_at(r) * matrix.columns(), sizeof(float), size_t(columns), stdout);
}
