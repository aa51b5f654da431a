// The products of prediction in one number format, as functions: the code around them is compiled once for all formats.
#pragma once

#include <cstdint>

namespace peephole {

// Rows of operands are the left factors; a panel, packed once, holds some columns of the right factor.
struct NumberFormat {
  int64_t bytes;    // of one operand
  bool has_scales;  // int8: one for each row and column

  // Converts a row of `size` floats, a multiple of the lanes, to operands; returns its scale.
  float (*convert)(void *to, const float *line, int64_t size);

  // The size of a panel of `vectors` vectors of columns.
  int64_t (*panel_bytes)(int vectors, int64_t depth);

  // Packs `vectors` vectors of columns, given as lines of `depth` floats one after the other. int8: steps[c] is the step
  // between the numbers of column c, or 0, and scales and zeros are set; see Matrix.
  void (*pack)(void *panel, int vectors, int64_t depth, const float *lines, const float *steps, float *scales,
               int32_t *zeros);

  // Row r of `out`, `stride` numbers from the next, becomes the product of left[r] with a panel. int8: times
  // left_scales[r] and the scale of the column.
  void (*multiply)(int64_t rows, const void *const *left, const float *left_scales, const void *panel, int vectors,
                   int64_t depth, const float *scales, const int32_t *zeros, float *out, int64_t stride);
};

}  // namespace peephole
