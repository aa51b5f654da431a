// Operands of products: the numbers themselves, their upper halves (bfloat16) with sums in float, or bytes with sums in
// 32-bit integers.
#pragma once

#include <type_traits>

#include "peephole.h"
#include "simd/vector.h"

namespace {

struct Bf16 {
  uint16_t bits;
};

// On the left of a product unsigned, kInt8Zero for 0, from 1 to 127; on its right signed, from -127 to 127. So the sum of
// two products is at most 2 · 127 · 127, which 16 bits hold.
struct Int8 {
  uint8_t bits;
};
constexpr int kInt8Zero = 64, kInt8Most = 63;  // of the left factor, whose numbers are kInt8Zero ± kInt8Most

// The type of the sums of products of O.
template <class O>
struct SumOf {
  using type = O;
};
template <>
struct SumOf<Bf16> {
  using type = float;
};
template <>
struct SumOf<Int8> {
  using type = int32_t;
};
template <class O>
using Sum = typename SumOf<O>::type;

// Numbers of O in the size of one sum: a group, side by side along the depth of a product.
template <class O>
constexpr int kGroup = int(sizeof(Sum<O>) / sizeof(O));

typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));

inline Words bits_of(Vector<float> v) {
  Words w;
  std::memcpy(&w, &v, sizeof w);
  return w;
}

inline Vector<float> of_bits(Words w) {
  Vector<float> v;
  std::memcpy(&v, &w, sizeof v);
  return v;
}

#if defined(__AVX512BF16__)

typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

// Rounds to the nearest bfloat16, ties to even; denormal numbers to 0, as products read them.
inline Halves to_halves(Vector<float> v) { return Halves(_mm512_cvtneps_pbh(v)); }

// kLanes groups of one number of a and one of b.
inline Vector<float> paired(Vector<float> a, Vector<float> b) {
  return of_bits(__builtin_convertvector(to_halves(a), Words) | __builtin_convertvector(to_halves(b), Words) << 16);
}

#else

// Rounds to the nearest bfloat16, ties to even, in the upper half of each word; the lower half is undefined.
inline Words rounded(Vector<float> v) {
  Words w = bits_of(v);
  Words r = w + (0x7fffu + ((w >> 16) & 1u));
  Words nan = (w & 0u) + 0x7fc00000u;
  return v == v ? r : nan;  // rounding could change NaN to a number
}

typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

inline Halves to_halves(Vector<float> v) { return __builtin_convertvector(rounded(v) >> 16, Halves); }

// kLanes groups of one number of a and one of b.
inline Vector<float> paired(Vector<float> a, Vector<float> b) {
  return of_bits((rounded(a) >> 16) | (rounded(b) & 0xffff0000u));
}

#endif

template <class O>
inline void store_operand(O *to, Vector<Sum<O>> v) {
  if constexpr (std::is_same_v<O, Bf16>) {
    const Halves halves = to_halves(v);
    std::memcpy(to, &halves, sizeof halves);
  } else {
    store(to, v);
  }
}

template <class O>
inline Vector<Sum<O>> load_operand(const O *from) {
  if constexpr (std::is_same_v<O, Bf16>) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return of_bits(__builtin_convertvector(halves, Words) << 16);
  } else {
    return load(from);
  }
}

// Copies a row of `size` numbers into operands, 0 up to `to_size`.
template <class O>
inline void copy_operands(O *to, const Sum<O> *from, int64_t size, int64_t to_size) {
  constexpr int L = kLanes<Sum<O>>;
  for (int64_t i = 0; i < to_size; i += L) store_operand(to + i, i < size ? load(from + i, size - i) : Vector<Sum<O>>{});
}

// A row of numbers as operands: itself, or copied to `line`, 0 up to whole vectors.
template <class O>
inline const O *as_operands(O *line, const Sum<O> *row, int64_t size) {
  if constexpr (std::is_same_v<O, Sum<O>>) {
    return row;
  } else {
    copy_operands(line, row, size, in_lanes<Sum<O>>(size));
    return line;
  }
}

// A vector of groups from memory.
template <class O>
inline Vector<Sum<O>> load_groups(const O *from) {
  Vector<Sum<O>> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// The first n of kLanes groups' numbers, given as sums; the rest 0.
template <class O>
inline Vector<Sum<O>> make_groups(const Sum<O> *from, int64_t n) {
  if constexpr (std::is_same_v<O, Bf16>) {
    Bf16 numbers[2 * kLanes<float>];
    store_operand(numbers, load(from, n));
    store_operand(numbers + kLanes<float>, n > kLanes<float> ? load(from + kLanes<float>, n - kLanes<float>)
                                                             : Vector<float>{});
    return load_groups(numbers);
  } else {
    return load(from, n);
  }
}

// One group in all lanes.
template <class O>
inline Vector<Sum<O>> splat_group(const O *group) {
  if constexpr (std::is_same_v<O, Bf16>) {
    uint32_t word;
    std::memcpy(&word, group, sizeof word);
    return of_bits(word - Words{});
  } else if constexpr (std::is_same_v<O, Int8>) {
    int32_t word;
    std::memcpy(&word, group, sizeof word);
    return splat(word);
  } else {
    return splat(*group);
  }
}

// sums + a · b, groupwise: a unsigned bytes, b signed ones.
#if defined(__AVX512VNNI__)
inline Vector<int32_t> multiply_add_bytes(Vector<int32_t> a, Vector<int32_t> b, Vector<int32_t> sums) {
  return Vector<int32_t>(_mm512_dpbusd_epi32(__m512i(sums), __m512i(a), __m512i(b)));
}
#elif defined(__aarch64__)
inline Vector<int32_t> multiply_add_bytes(Vector<int32_t> a, Vector<int32_t> b, Vector<int32_t> sums) {
  const int8x16_t left = int8x16_t(a), right = int8x16_t(b);
  const int16x8_t low = vmull_s8(vget_low_s8(left), vget_low_s8(right)), high = vmull_high_s8(left, right);
  return Vector<int32_t>(vpadalq_s16(int32x4_t(sums), vpaddq_s16(low, high)));
}
#elif !defined(__AVX2__)  // simd/byte_blocks.h
// In each word, the sum of the products of the two signed halves.
inline Vector<int32_t> multiply_halves(Vector<int32_t> a, Vector<int32_t> b) {
#if defined(__SSE2__)
  return Vector<int32_t>(_mm_madd_epi16(__m128i(a), __m128i(b)));
#elif defined(__wasm_simd128__)
  return wasm_i32x4_dot_i16x8(a, b);
#else
  return ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

inline Vector<int32_t> multiply_add_bytes(Vector<int32_t> a, Vector<int32_t> b, Vector<int32_t> sums) {
  typedef int16_t Halves __attribute__((vector_size(kVectorBytes)));
  Vector<int32_t> even = a & 0x00ff00ff, odd = Vector<int32_t>(Words(a) >> 8) & 0x00ff00ff;
  sums += multiply_halves(even, Vector<int32_t>((Halves(b) << 8) >> 8));
  return sums + multiply_halves(odd, Vector<int32_t>(Halves(b) >> 8));
}
#endif

// sums + a · b, groupwise.
template <class O>
inline Vector<Sum<O>> multiply_add(Vector<Sum<O>> a, Vector<Sum<O>> b, Vector<Sum<O>> sums) {
  if constexpr (std::is_same_v<O, Bf16>) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(sums, (__m512bh)a, (__m512bh)b);
#else
    Words u = bits_of(a), w = bits_of(b);
    sums = fma(of_bits(u << 16), of_bits(w << 16), sums);
    return fma(of_bits(u & 0xffff0000u), of_bits(w & 0xffff0000u), sums);
#endif
  } else if constexpr (std::is_same_v<O, Int8>) {
    return multiply_add_bytes(a, b, sums);
  } else {
    return fma(a, b, sums);
  }
}

// Calls body with a value of the type of the numbers and one of the type of the operands.
template <class Body>
auto with_types(int32_t scalar, int32_t operand, Body body) {
  if (scalar == sizeof(double))
    return body(double(), double());
  if (operand == PEEPHOLE_BF16) return body(float(), Bf16());
  return body(float(), float());
}

}  // namespace
