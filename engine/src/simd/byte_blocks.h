// Products of bytes where no instruction adds four products in 32 bits: AVX2, and AVX-512 without VNNI.
//
// vpmaddubsw adds two products in 16 bits, vpmaddwd two such sums in 32 bits. In a block, eight numbers of the depth, the
// 16-bit sums of both groups are added before vpmaddwd if they cannot overflow; the weights tell. Blocks where they can
// overflow follow the others in the panel, and the depths of all blocks are stored behind it.
#pragma once

#include "simd/operand.h"

namespace {

constexpr int64_t kBlock = 8;  // numbers of the depth

template <class O>
constexpr bool kHasBlocks =
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
    std::is_same_v<O, Int8>;
#else
    false;
#endif

// Bytes behind a panel: the number of blocks that cannot overflow, and the depth of each block.
constexpr int64_t block_list_bytes(int64_t depth) { return ((depth / kBlock + 1) * 4 + 63) / 64 * 64; }

inline int32_t read_word(const char *from) {
  int32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// Whether four products with numbers from 0 to 127 fit 16 bits, in each half word of a block of two groups.
inline bool fits_half_words(const Int8 *block, int64_t group) {
  constexpr int kMost = 32767 / 127;
  for (int64_t half = 0; half < group; half += 2) {
    int above = 0, below = 0;
    for (int i = 0; i < 4; ++i) {
      const int weight = static_cast<signed char>(block[i / 2 * group + half + i % 2].bits);
      (weight > 0 ? above : below) += weight;
    }
    if (above > kMost || below < -kMost) return false;
  }
  return true;
}

template <class T>
void exchange(T *one, T *other, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const T kept = one[i];
    one[i] = other[i];
    other[i] = kept;
  }
}

// Moves the blocks of a packed panel that can overflow to its end and writes the list.
inline void sort_blocks(Int8 *panel, int vectors, int64_t depth) {
  const int64_t group = vectors * int64_t(kVectorBytes), block = 2 * group;
  char *list = reinterpret_cast<char *>(panel + depth / kBlock * block), *depths = list + 4;
  for (int32_t k = 0; k < depth; k += kBlock) std::memcpy(depths + k / kBlock * 4, &k, sizeof k);
  int32_t fitting = 0;
  for (int64_t end = depth / kBlock; fitting < end;) {
    if (fits_half_words(panel + fitting * block, group)) {
      ++fitting;
    } else {
      --end;
      exchange(panel + fitting * block, panel + end * block, block);
      exchange(depths + fitting * 4, depths + end * 4, 4);
    }
  }
  std::memcpy(list, &fitting, sizeof fitting);
}

// sums[r][v] += rows[r] · vector kFirst + v of a panel of kVectors.
template <int kVectors, int kFirst, int kRows, int kNow>
void add_blocks(int64_t depth, const Int8 *const (&rows)[kRows], const Int8 *panel, Vector<int32_t> (&sums)[kRows][kNow]);

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
#if defined(__AVX512BW__)
inline Vector<int32_t> add_pairs(Vector<int32_t> sums, __m512i pairs) {
  return sums + Vector<int32_t>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
inline __m512i multiply_pairs(Vector<int32_t> a, Vector<int32_t> b) { return _mm512_maddubs_epi16(__m512i(a), __m512i(b)); }
inline __m512i plus(__m512i a, __m512i b) { return _mm512_add_epi16(a, b); }
#else
inline Vector<int32_t> add_pairs(Vector<int32_t> sums, __m256i pairs) {
  return sums + Vector<int32_t>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline __m256i multiply_pairs(Vector<int32_t> a, Vector<int32_t> b) { return _mm256_maddubs_epi16(__m256i(a), __m256i(b)); }
inline __m256i plus(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }
#endif

template <int kVectors, int kFirst, int kRows, int kNow>
[[gnu::always_inline]] inline void add_blocks(int64_t depth, const Int8 *const (&rows)[kRows], const Int8 *panel,
                                              Vector<int32_t> (&sums)[kRows][kNow]) {
  constexpr int64_t kGroupBytes = kVectors * kVectorBytes;
  const char *list = reinterpret_cast<const char *>(panel + depth / kBlock * 2 * kGroupBytes);
  const char *end = list + 4 * (depth / kBlock), *last_fitting = list + 4 * int64_t(read_word(list));
  const Int8 *right = panel + kFirst * kVectorBytes;
  for (; list < last_fitting; right += 2 * kGroupBytes) {
    const int64_t k = read_word(list += 4);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector<int32_t> first = splat_group(rows[r] + k), second = splat_group(rows[r] + k + 4);
#pragma GCC unroll 4
      for (int v = 0; v < kNow; ++v) {
        const Int8 *w = right + v * kVectorBytes;
        sums[r][v] = add_pairs(sums[r][v], plus(multiply_pairs(first, load_groups(w)),
                                                multiply_pairs(second, load_groups(w + kGroupBytes))));
      }
    }
  }
  for (; list < end; right += 2 * kGroupBytes) {
    const int64_t k = read_word(list += 4);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector<int32_t> first = splat_group(rows[r] + k), second = splat_group(rows[r] + k + 4);
#pragma GCC unroll 4
      for (int v = 0; v < kNow; ++v) {
        const Int8 *w = right + v * kVectorBytes;
        sums[r][v] = add_pairs(sums[r][v], multiply_pairs(first, load_groups(w)));
        sums[r][v] = add_pairs(sums[r][v], multiply_pairs(second, load_groups(w + kGroupBytes)));
      }
    }
  }
}
#endif

}  // namespace
