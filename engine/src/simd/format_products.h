// The functions of NumberFormat for operands of O.
#pragma once

#include "simd/number_format.h"
#include "simd/product.h"

namespace {

// The nearest integers, for numbers below 2^22.
inline Words nearest(Vector<float> v) {
  return bits_of(v + splat(Exponential<float>::kRound)) - bits_of(splat(Exponential<float>::kRound));
}

inline float largest_magnitude(const float *line, int64_t size) {
  constexpr int L = kLanes<float>, kChains = 4;  // comparisons that do not wait for each other
  Vector<float> most[kChains] = {};
  for (int64_t i = 0; i < size; i += kChains * L)
#pragma GCC unroll 4
    for (int j = 0; j < kChains; ++j) {
      Vector<float> v = of_bits(bits_of(load(line + (i + j * L < size ? i + j * L : i))) & 0x7fffffffu);
      most[j] = v > most[j] ? v : most[j];
    }
  for (int j = 1; j < kChains; ++j) most[0] = most[j] > most[0] ? most[j] : most[0];
  float lanes[L];
  store(lanes, most[0]);
#pragma GCC unroll 4
  for (int width = L / 2; width; width /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i + width] > lanes[i] ? lanes[i + width] : lanes[i];
  return lanes[0];
}

// Stores numbers below 128 as bytes.
inline void store_bytes(Int8 *to, Words words) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(__m256i(words)), _mm256_extracti128_si256(__m256i(words), 1));
  _mm_storel_epi64(reinterpret_cast<__m128i *>(to), _mm_packs_epi16(halves, halves));
#else
  typedef uint8_t Bytes __attribute__((vector_size(kVectorBytes / 4)));
  Bytes bytes = __builtin_convertvector(words, Bytes);
  std::memcpy(to, &bytes, sizeof bytes);
#endif
}

// int8 rows have a scale each, so that the operands of a row do not depend on the other rows.
template <class O>
float convert_row(void *operands, const float *line, int64_t size) {
  constexpr int L = kLanes<float>;
  O *to = static_cast<O *>(operands);
  if constexpr (std::is_same_v<O, Int8>) {
    float most = largest_magnitude(line, size), inverse = most > 0 ? kInt8Most / most : 0;
    for (int64_t i = 0; i < size; i += L) {
      Words levels = nearest(load(line + i) * splat(inverse)) + uint32_t(kInt8Zero);
      store_bytes(to + i, levels & 127u);  // changes only what NaN becomes
    }
    return most / kInt8Most;
  } else {
    for (int64_t i = 0; i < size; i += L) store_operand(to + i, load(line + i));
    return 1;
  }
}

// Packs column c of a panel of bytes; sets its scale, and the sum that takes off what kInt8Zero in the left factor adds.
inline void pack_bytes(Int8 *panel, int vectors, int64_t depth, int column, const float *line, float step, float &scale,
                       int32_t &zero) {
  constexpr int L = kLanes<float>, G = kGroup<Int8>;
  if (!(step > 0)) step = largest_magnitude(line, depth) / 127;
  Vector<float> inverse = splat(step > 0 ? 1 / step : 0), limit = splat(127.0f);
  Vector<int32_t> total{};
  for (int64_t k = 0; k < depth; k += L) {
    Vector<float> n = load(line + k) * inverse;
    n = n > limit ? limit : n;
    n = n > -limit ? n : -limit;  // NaN becomes -127
    Vector<int32_t> rounded = Vector<int32_t>(nearest(n));
    total += rounded;
    for (int lane = 0; lane < L; ++lane)
      panel[(((k + lane) / G * vectors + column / L) * L + column % L) * G + (k + lane) % G].bits = uint8_t(rounded[lane]);
  }
  int32_t sum = 0;
  for (int lane = 0; lane < L; ++lane) sum += total[lane];
  scale = step;
  zero = -kInt8Zero * sum;
}

template <class O>
void pack_lines(void *panel, int vectors, int64_t depth, const float *lines, const float *steps, float *scales,
                int32_t *zeros) {
  constexpr int L = kLanes<float>;
  if constexpr (std::is_same_v<O, Int8>) {
    for (int c = 0; c < vectors * L; ++c)
      pack_bytes(static_cast<O *>(panel), vectors, depth, c, lines + c * depth, steps[c], scales[c], zeros[c]);
    if constexpr (kHasBlocks<O>) sort_blocks(static_cast<O *>(panel), vectors, depth);
  } else {
    pack_columns(static_cast<O *>(panel), vectors, depth, depth,
                 [=](int v, int lane) { return lines + (v * L + lane) * depth; });
  }
}

template <class O>
void multiply_panel(int64_t rows, const void *const *left, const float *left_scales, const void *panel, int vectors,
                    int64_t depth, const float *scales, const int32_t *zeros, float *out, int64_t stride) {
  constexpr int L = kLanes<float>;
  const O *right = static_cast<const O *>(panel);
  // No register is left for weights of blocks of bytes: then 3 rows times 4 vectors load less than 6 times 2.
  constexpr int kMost = kHasBlocks<O> && kRegisters == 16 ? 3 : kTileRows<O>;
  TileRegisters registers;
  for_tiles<kMost>(rows, [&](int64_t r, int64_t n) {
    const O *tile_rows[kTileRows<O>];
    for (int64_t i = 0; i < n; ++i) tile_rows[i] = static_cast<const O *>(left[r + i]);
    float *to = out + r * stride;
    if constexpr (std::is_same_v<O, Int8>) {
      int32_t sums[kTileRows<O> * kPanelVectors * L];
      tile_of<O>(n, vectors)(depth, tile_rows, right, zeros, 0, sums, vectors * L);
      for (int64_t i = 0; i < n; ++i)
        for (int v = 0; v < vectors; ++v) {
          Vector<int32_t> sum = load(sums + (i * vectors + v) * L);
          Vector<float> scale = splat(left_scales[r + i]) * load(scales + v * L);
          store(to + i * stride + v * L, __builtin_convertvector(sum, Vector<float>) * scale);
        }
    } else {
      tile_of<O>(n, vectors)(depth, tile_rows, right, nullptr, 0, to, stride);
    }
  });
}

template <class O>
int64_t panel_bytes(int vectors, int64_t depth) {
  return vectors * kLanes<float> * depth * int64_t(sizeof(O)) + (kHasBlocks<O> ? block_list_bytes(depth) : 0);
}

template <class O>
constexpr peephole::NumberFormat number_format() {
  return {sizeof(O), std::is_same_v<O, Int8>, convert_row<O>, panel_bytes<O>, pack_lines<O>, multiply_panel<O>};
}

}  // namespace
