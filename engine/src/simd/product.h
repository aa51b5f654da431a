// Matrix products on tiles of kTileRows<O> rows and four vectors of columns, with their sums in registers.
//
// The right factor is packed into panels of up to four vectors of columns: panel[k][vector][lane]. A row's sums are
// added in the order of k, independent of the other rows.
#pragma once

#include "simd/byte_blocks.h"
#include "simd/tile_registers.h"

namespace {

constexpr int kPanelVectors = 4;

// Σ_k a[r][k] panel[k] for rows r, beginning from `first` (NULL: 0; row stride 0: the same for all rows). `depth` counts
// numbers and is a multiple of kGroup<O>.
template <class O>
using Tile = void (*)(int64_t depth, const O *const *a, const O *panel, const Sum<O> *first, int64_t first_stride,
                      Sum<O> *out, int64_t out_stride);

// The vectors of columns whose sums for `rows` rows stay in registers. Fewer vectors of more rows load less of the panel
// for a product: 6 rows times 2 vectors half as much as 3 rows times 4.
constexpr int vectors_at_once(int rows) { return kRegisters == 16 && rows > 3 ? 2 : kPanelVectors; }

// The vectors [kFirst, kVectors) of a tile.
template <class O, int kRows, int kVectors, int kFirst = 0>
void tile(int64_t depth, const O *const *a, const O *panel, const Sum<O> *first, int64_t first_stride, Sum<O> *out,
          int64_t out_stride) {
  using T = Sum<O>;
  constexpr int L = kLanes<T>, G = kGroup<O>, kLeft = kVectors - kFirst;
  constexpr int kNow = kLeft < vectors_at_once(kRows) ? kLeft : vectors_at_once(kRows);
  Vector<T> sums[kRows][kNow];
  const O *rows[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    rows[r] = a[r];
#pragma GCC unroll 4
    for (int v = 0; v < kNow; ++v)
      sums[r][v] = first ? load(first + r * first_stride + (kFirst + v) * L) : Vector<T>{};
  }
  if constexpr (kHasBlocks<O>) {
    add_blocks<kVectors, kFirst>(depth, rows, panel, sums);
  } else {
    const O *right = panel + kFirst * L * G;
    for (int64_t k = 0; k < depth; k += G, right += kVectors * L * G) {
      Vector<T> w[kNow];
#pragma GCC unroll 4
      for (int v = 0; v < kNow; ++v) w[v] = load_groups(right + v * L * G);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        Vector<T> s = splat_group(rows[r] + k);
#pragma GCC unroll 4
        for (int v = 0; v < kNow; ++v) sums[r][v] = multiply_add<O>(s, w[v], sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kNow; ++v) store(out + r * out_stride + (kFirst + v) * L, sums[r][v]);
  if constexpr (kNow < kLeft)
    tile<O, kRows, kVectors, kFirst + kNow>(depth, a, panel, first, first_stride, out, out_stride);
}

// out[r] (+)= Σ_k a[k][r] panel[k] for kTileRows<O> rows r of a left factor packed in groups as a[k][r], for the vectors
// [kFirst, kVectors).
template <class O, int kVectors, int kFirst = 0>
void outer_tile_by_vectors(int64_t depth, const O *a, const O *panel, Sum<O> *out, bool add) {
  using T = Sum<O>;
  constexpr int L = kLanes<T>, G = kGroup<O>, kRows = kTileRows<O>, kLeft = kVectors - kFirst;
  constexpr int kNow = kLeft < vectors_at_once(kRows) ? kLeft : vectors_at_once(kRows);
  Vector<T> sums[kRows][kNow];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kNow; ++v) sums[r][v] = add ? load(out + (r * kVectors + kFirst + v) * L) : Vector<T>{};
  const O *left = a, *right = panel + kFirst * L * G;
  for (int64_t k = 0; k < depth; k += G, right += kVectors * L * G, left += kRows * G) {
    Vector<T> w[kNow];
#pragma GCC unroll 4
    for (int v = 0; v < kNow; ++v) w[v] = load_groups(right + v * L * G);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      Vector<T> s = splat_group(left + r * G);
#pragma GCC unroll 4
      for (int v = 0; v < kNow; ++v) sums[r][v] = multiply_add<O>(s, w[v], sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kNow; ++v) store(out + (r * kVectors + kFirst + v) * L, sums[r][v]);
  if constexpr (kNow < kLeft) outer_tile_by_vectors<O, kVectors, kFirst + kNow>(depth, a, panel, out, add);
}

template <class O, int kVectors, int kMost = kVectorRows>
Tile<O> tile_of_rows(int64_t rows) {
  if constexpr (kMost > 0)
    return rows == kMost ? tile<O, kMost, kVectors> : tile_of_rows<O, kVectors, kMost - 1>(rows);
  else
    return nullptr;
}

// A product by vector registers.
template <class O>
Tile<O> vector_tile_of(int64_t rows, int vectors) {
  switch (vectors) {
    case 1: return tile_of_rows<O, 1>(rows);
    case 2: return tile_of_rows<O, 2>(rows);
    case 3: return tile_of_rows<O, 3>(rows);
    default: return tile_of_rows<O, 4>(rows);
  }
}

#if defined(PEEPHOLE_TILES)

// A product by tile registers. Few rows of bytes are multiplied in less time by vector registers, with the same sums;
// bfloat16's would be rounded in another order, so that a row would depend on how many others there are.
template <class O>
struct TileProduct {
  static constexpr int kFewRows = std::is_same_v<O, Int8> ? 7 : 0;
  int rows, vectors;
  void operator()(int64_t depth, const O *const *a, const O *panel, const Sum<O> *first, int64_t first_stride, Sum<O> *out,
                  int64_t out_stride) const {
    if constexpr (kFewRows > 0)
      if (rows <= kFewRows)
        return vector_tile_of<O>(rows, vectors)(depth, a, panel, first, first_stride, out, out_stride);
    multiply_rows(rows, vectors, depth, a, panel, first, first_stride, out, out_stride);
  }
};

#endif

// What multiplies `rows` rows, at most kTileRows<O>, with a panel of `vectors` vectors of columns; called as a Tile.
template <class O>
auto tile_of(int64_t rows, int vectors) {
#if defined(PEEPHOLE_TILES)
  if constexpr (kHasTiles<O>) return TileProduct<O>{int(rows), vectors};
  else
#endif
    return vector_tile_of<O>(rows, vectors);
}

// out[r] (+)= Σ_k a[k][r] panel[k] for kTileRows<O> rows r of a left factor packed by pack_tiles. `depth` is in whole steps
// (in_steps), of both factors.
template <class O, int kVectors>
void outer_tile(int64_t depth, const O *a, const O *panel, Sum<O> *out, bool add) {
#if defined(PEEPHOLE_TILES)
  if constexpr (kHasTiles<O>) {
    constexpr int64_t kStep = kDepthStep<O>, kWidth = kVectors * kLanes<Sum<O>>;
    const LeftFactor<O> left{a, kStep * int64_t(sizeof(O)), kTileRows<O> * kStep};
    multiply_tiles(kTileRows<O>, kVectors, int(kStep) / kGroup<O>, depth / kStep, left, panel, add ? out : nullptr, kWidth, out,
                   kWidth);
  } else
#endif
    outer_tile_by_vectors<O, kVectors>(depth, a, panel, out, add);
}

template <class O>
void outer_tile(int vectors, int64_t depth, const O *a, const O *panel, Sum<O> *out) {
  switch (vectors) {
    case 1: return outer_tile<O, 1>(depth, a, panel, out, false);
    case 2: return outer_tile<O, 2>(depth, a, panel, out, false);
    case 3: return outer_tile<O, 3>(depth, a, panel, out, false);
    default: return outer_tile<O, 4>(depth, a, panel, out, false);
  }
}

// Calls visit(first, rows) for tiles of nearly equal sizes, of at most kMost rows: a small last tile would read the panel for little work.
template <int kMost, class Visit>
inline void for_tiles(int64_t num_rows, Visit visit) {
  int64_t tiles = (num_rows + kMost - 1) / kMost;
  for (int64_t i = 0, first = 0; i < tiles; ++i) {
    int64_t rows = num_rows / tiles + (i < num_rows % tiles);
    visit(first, rows);
    first += rows;
  }
}

// A panel: columns [first, first + width) of a matrix of `columns`.
template <class T>
struct Columns {
  int64_t first, columns;
  int vectors() const {
    int64_t left = (columns - first + kLanes<T> - 1) / kLanes<T>;
    return int(left < kPanelVectors ? left : kPanelVectors);
  }
  int64_t width() const { return vectors() * int64_t(kLanes<T>); }
  int64_t in(int v) const { return columns - first - v * int64_t(kLanes<T>); }  // columns from vector v on
};

template <class T, class Visit>
inline void for_panels(int64_t columns, Visit visit) {
  for (int64_t first = 0; first < columns; first += kPanelVectors * kLanes<T>) visit(Columns<T>{first, columns});
}

// Packs one group of rows, from row k on, of a matrix of `columns`; see pack_rows. Not inlined: it has many callers and
// is long.
template <class O>
[[gnu::noinline]] void pack_row_group(O *panels, int64_t columns, int64_t depth, int64_t k, const Sum<O> *const *rows) {
  using T = Sum<O>;
  constexpr int L = kLanes<T>, G = kGroup<O>;
  for_panels<T>(columns, [&](Columns<T> panel) {
    O *to = panels + panel.first * depth + k * panel.width();
    for (int v = 0; v < panel.vectors(); ++v) {
      Vector<T> numbers[G] = {};
      for (int i = 0; i < G; ++i)
        if (rows[i]) numbers[i] = load(rows[i] + panel.first + v * L, panel.in(v));
      Vector<T> groups = numbers[0];
      if constexpr (G == 2) groups = paired(numbers[0], numbers[1]);
      std::memcpy(to + v * L * G, &groups, sizeof groups);
    }
  });
}

// Packs rows [begin, end) of the `depth` rows of a matrix of `columns`. Panels of all rows are stored one after the
// other; panel[k] is row(k) in the panel's columns, 0 past the last; row(k) may be NULL: 0. All of begin, end and depth
// are multiples of kGroup<O>.
template <class O, class Row>
inline void pack_rows(O *panels, int64_t columns, int64_t depth, int64_t begin, int64_t end, Row row) {
  for (int64_t k = begin; k < end; k += kGroup<O>) {
    const Sum<O> *rows[kGroup<O>];
    for (int i = 0; i < kGroup<O>; ++i) rows[i] = row(k + i);
    pack_row_group<O>(panels, columns, depth, k, rows);
  }
}

#if defined(__clang__)
// Alternates the numbers of a and b: of their first halves, and of their second.
template <class T>
inline void interleave(Vector<T> a, Vector<T> b, Vector<T> &first, Vector<T> &second) {
  constexpr int L = kLanes<T>;
  for (int lane = 0; lane < L; ++lane) {
    first[lane] = (lane % 2 ? b : a)[lane / 2];
    second[lane] = (lane % 2 ? b : a)[(lane + L) / 2];
  }
}
#else
template <class T>
inline void interleave(Vector<T> a, Vector<T> b, Vector<T> &first, Vector<T> &second) {
  constexpr int L = kLanes<T>;
  typedef typename Exponential<T>::Bits Lanes __attribute__((vector_size(kVectorBytes)));
  Lanes low{}, high{};
#pragma GCC unroll 16
  for (int lane = 0; lane < L; ++lane) {
    low[lane] = lane / 2 + (lane % 2) * L;
    high[lane] = (lane + L) / 2 + (lane % 2) * L;
  }
  first = __builtin_shuffle(a, b, low);
  second = __builtin_shuffle(a, b, high);
}
#endif

// rows[i][j] becomes rows[j][i]: interleaving the halves once for each bit of a row's number.
template <class T>
inline void transpose(Vector<T> (&rows)[kLanes<T>]) {
  constexpr int L = kLanes<T>;
#pragma GCC unroll 4
  for (int bit = 1; bit < L; bit *= 2) {
    Vector<T> mixed[L];
#pragma GCC unroll 8
    for (int i = 0; i < L / 2; ++i) interleave<T>(rows[i], rows[i + L / 2], mixed[2 * i], mixed[2 * i + 1]);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = mixed[i];
  }
}

// Packs a matrix given by its columns: panel[k][v][lane] = columns[v * kLanes + lane][k] for k < padded, in groups.
// Columns have `depth` numbers, 0 past them; a column may be NULL: 0. Not inlined, as pack_row_group.
template <class O>
[[gnu::noinline]] void pack_panel(O *panel, int vectors, int64_t depth, int64_t padded, const Sum<O> *const *columns) {
  using T = Sum<O>;
  constexpr int L = kLanes<T>, G = kGroup<O>;
  for (int64_t k0 = 0; k0 < padded; k0 += L * G) {
    int64_t strip = (padded - k0) / G < L ? (padded - k0) / G : L;
    for (int v = 0; v < vectors; ++v) {
      Vector<T> square[L];
#pragma GCC unroll 16
      for (int lane = 0; lane < L; ++lane) {
        const T *from = k0 < depth ? columns[v * L + lane] : nullptr;
        square[lane] = from ? make_groups<O>(from + k0, depth - k0) : Vector<T>{};
      }
      transpose<T>(square);
#pragma GCC unroll 16
      for (int k = 0; k < L; ++k)
        if (k < strip) std::memcpy(panel + ((k0 / G + k) * vectors + v) * L * G, &square[k], sizeof square[k]);
    }
  }
}

// The same with column(v, lane) for the columns.
template <class O, class Column>
inline void pack_columns(O *panel, int vectors, int64_t depth, int64_t padded, Column column) {
  constexpr int L = kLanes<Sum<O>>;
  const Sum<O> *columns[kPanelVectors * L] = {};
  for (int v = 0; v < vectors; ++v)
    for (int lane = 0; lane < L; ++lane) columns[v * L + lane] = column(v, lane);
  pack_panel<O>(panel, vectors, depth, padded, columns);
}

// panel[k][v][lane] = weight[blocks[v] * units + unit + lane][k] for k < padded, in groups: the same units of several
// gates side by side. The weight has rows of `stride` numbers, of which `depth` count; 0 past them and past `units`.
template <class O, int kVectors>
inline void pack_gates(O *panel, const Sum<O> *weight, int64_t stride, int64_t depth, int64_t padded,
                       const int (&blocks)[kVectors], int64_t unit, int64_t units) {
  pack_columns(panel, kVectors, depth, padded, [&](int v, int lane) {
    return unit + lane < units ? weight + (blocks[v] * units + unit + lane) * stride : nullptr;
  });
}

// visit(row, column, sum) for L columns of the product of some rows with a matrix packed by pack_rows; vectors past
// `columns` are not visited.
template <class O, class Visit>
inline void multiply_panels(int64_t rows, const O *const *left, int64_t depth, const O *panels, int64_t columns,
                            Visit visit) {
  using T = Sum<O>;
  constexpr int L = kLanes<T>;
  for_panels<T>(columns, [&](Columns<T> panel) {
    int64_t width = panel.width();
    for_tiles<kTileRows<O>>(rows, [&](int64_t q, int64_t n) {
      T sums[kTileRows<O> * kPanelVectors * L];
      tile_of<O>(n, panel.vectors())(depth, left + q, panels + panel.first * depth, nullptr, 0, sums, width);
      for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < panel.vectors(); ++v) visit(q + r, panel.first + v * L, load(sums + r * width + v * L));
    });
  });
}

}  // namespace
