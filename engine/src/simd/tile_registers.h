// How many rows and numbers of the depth a product takes at a time; and products by AMX: eight tile registers of at most
// 16 rows of 64 bytes, four of which hold sums.
//
// PEEPHOLE_TILES is defined where kernels are compiled for AMX, since a compiler may have it turned on for all of them. A
// left factor's tile has rows of kDepthStep<O> numbers; a right factor's tile is one vector of columns of a panel.
#pragma once

#include "simd/operand.h"

namespace {

// Whether products of O use tile registers.
template <class O>
constexpr bool kHasTiles =
#if defined(PEEPHOLE_TILES)
    sizeof(O) < sizeof(Sum<O>);
#else
    false;
#endif

// Rows of the left factor whose sums are in registers at the same time.
template <class O>
constexpr int kTileRows = kHasTiles<O> ? 32 : kVectorRows;

// Numbers of the depth of a product that one instruction multiplies. Factors of a weight's gradient are packed in whole
// steps, 0 past the last number.
template <class O>
constexpr int kDepthStep = kHasTiles<O> ? 64 / int(sizeof(O)) : kGroup<O>;

#if defined(PEEPHOLE_TILES)

// GCC's intrinsics do not say which memory they read and write. Between them and other code that does, the compiler must
// neither move nor leave out an access.
inline void order_accesses() { asm volatile("" ::: "memory"); }

// The rows of the left factor and the groups of a step, for which this thread's tile registers are set; 0: not set.
thread_local int32_t tile_shape = 0;

// A scope of products by tile registers; without AMX it does nothing. It begins with registers that are not set, since
// other code on this thread may have set them, and gives them back, since a thread with registers in use takes longer to
// be switched.
class TileRegisters {
 public:
  TileRegisters() { tile_shape = 0; }
  ~TileRegisters() {
    if (tile_shape) _tile_release();
    tile_shape = 0;
  }
};

// Registers 0 to 3 hold sums, of the first and the second 16 rows; 4 and 5 left factors, 6 and 7 right ones. Setting them
// takes as long as the product of 32 rows, 16 columns and a depth of 200.
[[gnu::noinline]] inline void set_tile_shape(int rows, int groups) {
  struct {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  } shape;
  const int first = rows < 16 ? rows : 16, second = rows > 16 ? rows - 16 : first;
  for (int i = 0; i < 8; ++i) {
    shape.row_bytes[i] = uint16_t(i == 4 || i == 5 ? 4 * groups : 64);
    shape.rows[i] = uint8_t(i > 5 ? groups : i == 2 || i == 3 || i == 5 ? second : first);
  }
  asm volatile("" ::"r"(&shape) : "memory");
  _tile_loadconfig(&shape);
  tile_shape = rows << 8 | groups;
}

template <class O>
struct LeftFactor {
  const O *numbers;
  int64_t row_bytes;  // from a row to the next
  int64_t step;       // numbers from a step of the depth to the next
};

// out = first + left · panel over `steps` steps of the depth; first NULL: 0. kBoth: the registers are set for more than 16
// rows; kPair: there are two vectors of columns, else one. Strides count numbers.
template <class O, bool kBoth, bool kPair>
inline void multiply_tiles(int64_t steps, LeftFactor<O> left, const O *panel, int64_t panel_stride, const Sum<O> *first,
                           int64_t first_stride, Sum<O> *out, int64_t out_stride) {
  constexpr int L = kLanes<Sum<O>>, G = kGroup<O>;
  const int64_t from_bytes = first_stride * 4, to_bytes = out_stride * 4;
  const int64_t right_bytes = panel_stride * int64_t(sizeof(O));
  order_accesses();
  if (first) {
    _tile_loadd(0, first, from_bytes);
    if constexpr (kPair) _tile_loadd(1, first + L, from_bytes);
    if constexpr (kBoth) _tile_loadd(2, first + 16 * first_stride, from_bytes);
    if constexpr (kBoth && kPair) _tile_loadd(3, first + 16 * first_stride + L, from_bytes);
  } else {
    _tile_zero(0);
    if constexpr (kPair) _tile_zero(1);
    if constexpr (kBoth) _tile_zero(2);
    if constexpr (kBoth && kPair) _tile_zero(3);
  }
  const char *second_rows = reinterpret_cast<const char *>(left.numbers) + 16 * left.row_bytes;
  const O *b = panel;
  for (int64_t step = 0; step < steps; ++step, b += kDepthStep<O> / G * panel_stride) {
    _tile_loadd(4, left.numbers + step * left.step, left.row_bytes);
    _tile_loadd(6, b, right_bytes);
    if constexpr (kPair) _tile_loadd(7, b + L * G, right_bytes);
    if constexpr (kBoth) _tile_loadd(5, second_rows + step * left.step * int64_t(sizeof(O)), left.row_bytes);
    if constexpr (std::is_same_v<O, Bf16>) {
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kPair) _tile_dpbf16ps(1, 4, 7);
      if constexpr (kBoth) _tile_dpbf16ps(2, 5, 6);
      if constexpr (kBoth && kPair) _tile_dpbf16ps(3, 5, 7);
    } else {
      _tile_dpbusd(0, 4, 6);
      if constexpr (kPair) _tile_dpbusd(1, 4, 7);
      if constexpr (kBoth) _tile_dpbusd(2, 5, 6);
      if constexpr (kBoth && kPair) _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, out, to_bytes);
  if constexpr (kPair) _tile_stored(1, out + L, to_bytes);
  if constexpr (kBoth) _tile_stored(2, out + 16 * out_stride, to_bytes);
  if constexpr (kBoth && kPair) _tile_stored(3, out + 16 * out_stride + L, to_bytes);
  order_accesses();
}

// The same for 1 to 32 rows and any number of vectors of columns, of a step of `groups` groups.
template <class O>
inline void multiply_tiles(int rows, int vectors, int groups, int64_t steps, LeftFactor<O> left, const O *panel,
                           const Sum<O> *first, int64_t first_stride, Sum<O> *out, int64_t out_stride) {
  constexpr int L = kLanes<Sum<O>>, G = kGroup<O>;
  if (tile_shape != (rows << 8 | groups)) set_tile_shape(rows, groups);
  const int64_t panel_stride = vectors * L * G;
  for (int v = 0; v < vectors; v += 2, panel += 2 * L * G, out += 2 * L, first = first ? first + 2 * L : nullptr) {
    auto multiply = rows > 16 ? (v + 1 < vectors ? multiply_tiles<O, true, true> : multiply_tiles<O, true, false>)
                              : (v + 1 < vectors ? multiply_tiles<O, false, true> : multiply_tiles<O, false, false>);
    multiply(steps, left, panel, panel_stride, first, first_stride, out, out_stride);
  }
}

// Products of rows anywhere in memory, as those of a Tile in simd/product.h. Rows that are not at equal distances are
// copied, a part of the depth at a time.
template <class O>
[[gnu::noinline]] void multiply_rows(int rows, int vectors, int64_t depth, const O *const *a, const O *panel,
                                     const Sum<O> *first, int64_t first_stride, Sum<O> *out, int64_t out_stride) {
  constexpr int64_t L = kLanes<Sum<O>>, kStep = kDepthStep<O>, kPart = 8 * kStep;
  const int64_t width = vectors * L;
  auto distance = [a](int r) { return reinterpret_cast<intptr_t>(a[r]) - reinterpret_cast<intptr_t>(a[r - 1]); };
  const int64_t row_bytes = rows > 1 ? distance(1) : 0;
  bool regular = true;
  for (int r = 2; r < rows; ++r) regular &= distance(r) == row_bytes;
  if (depth == 0) {
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v)
        store(out + r * out_stride + v * L, first ? load(first + r * first_stride + v * L) : Vector<Sum<O>>{});
    return;
  }
  alignas(64) O copies[kTileRows<O> * kPart];
  for (int64_t k = 0; k < depth;) {
    int64_t size = depth - k;
    if (!regular && size > kPart) size = kPart;
    if (size > kStep) size = size / kStep * kStep;  // the rest of a step, in a shape of its own, comes last
    LeftFactor<O> left{a[0] + k, row_bytes, kStep};
    if (!regular) {
      for (int r = 0; r < rows; ++r) std::memcpy(copies + r * kPart, a[r] + k, size_t(size) * sizeof(O));
      left = {copies, kPart * int64_t(sizeof(O)), kStep};
    }
    const bool whole = size % kStep == 0;
    multiply_tiles(rows, vectors, int((whole ? kStep : size) / kGroup<O>), whole ? size / kStep : 1, left, panel + k * width,
                   first, first_stride, out, out_stride);
    first = out;
    first_stride = out_stride;
    k += size;
  }
}

#else

struct TileRegisters {
  TileRegisters() {}
};

#endif

}  // namespace
