// A matrix of weights in a file's memory.
#pragma once

#include <cstdint>

namespace peephole {

enum class Number : int32_t { kFloat32, kBfloat16, kInt8 };

// A matrix in a file, row-major, maybe unaligned. Row o of an int8 matrix is multiplied with scales[o].
struct MatrixView {
  const unsigned char *numbers = nullptr, *scales = nullptr;
  Number number = Number::kFloat32;
  int64_t rows = 0, columns = 0;
};

}  // namespace peephole
