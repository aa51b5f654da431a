// Vectors, and σ and tanh on them. Compiled once per instruction set: everything here has internal linkage.
//
// Contraction is off (see CMakeLists.txt) and every fused multiply-add is written out, so that a number is computed by
// the same operations at every position.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace {

// kVectorRows: the rows of a product whose sums are in vector registers at the same time; see simd/product.h.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kVectorRows = 7, kRegisters = 32;  // 28 sums, 4 weights
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kVectorRows = 6, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kVectorRows = 6, kRegisters = 32;
#elif defined(__wasm__)
constexpr int kVectorBytes = 16, kVectorRows = 2, kRegisters = 16;  // browsers keep no 12 sums, 4 weights and a factor in registers
#else
constexpr int kVectorBytes = 16, kVectorRows = 3, kRegisters = 16;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

// n, rounded up to whole vectors.
template <class T>
constexpr int64_t in_lanes(int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// a * b + c, rounded once where the instruction set can.
#if defined(__AVX512F__)
inline Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__AVX2__)
inline Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__aarch64__)
inline Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) { return vfmaq_f32(c, a, b); }
inline Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) { return vfmaq_f64(c, a, b); }
#else
template <class V>
inline V fma(V a, V b, V c) {
  return a * b + c;
}
#endif

#if defined(__AVX512F__)
inline Vector<float> square_root(Vector<float> v) { return _mm512_maskz_sqrt_ps(0xffff, v); }
inline Vector<double> square_root(Vector<double> v) { return _mm512_maskz_sqrt_pd(0xff, v); }
#elif defined(__AVX2__)
inline Vector<float> square_root(Vector<float> v) { return _mm256_sqrt_ps(v); }
inline Vector<double> square_root(Vector<double> v) { return _mm256_sqrt_pd(v); }
#elif defined(__aarch64__)
inline Vector<float> square_root(Vector<float> v) { return vsqrtq_f32(v); }
inline Vector<double> square_root(Vector<double> v) { return vsqrtq_f64(v); }
#elif defined(__SSE2__)
inline Vector<float> square_root(Vector<float> v) { return _mm_sqrt_ps(v); }
inline Vector<double> square_root(Vector<double> v) { return _mm_sqrt_pd(v); }
#else
template <class V>
inline V square_root(V v) {
  for (size_t lane = 0; lane < sizeof v / sizeof v[0]; ++lane) v[lane] = __builtin_sqrt(v[lane]);
  return v;
}
#endif

template <class T>
inline Vector<T> splat(T value) {
  return value - Vector<T>{};  // value - 0 is value, also for -0
}

template <class T>
inline Vector<T> load(const T *from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
inline void store(T *to, Vector<T> v) {
  std::memcpy(to, &v, sizeof v);
}

// The first n numbers, the rest 0.
template <class T>
inline Vector<T> load(const T *from, int64_t n) {
  if (n >= kLanes<T>) return load(from);
  Vector<T> v{};
  if (n > 0) std::memcpy(&v, from, size_t(n) * sizeof(T));
  return v;
}

template <class T>
inline void store(T *to, Vector<T> v, int64_t n) {
  if (n >= kLanes<T>) return store(to, v);
  if (n > 0) std::memcpy(to, &v, size_t(n) * sizeof(T));
}

// The sum of a vector's numbers, in a fixed order.
template <class T>
inline T sum_of(Vector<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
#pragma GCC unroll 4
  for (int width = kLanes<T> / 2; width; width /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  using Bits = uint32_t;  // wraps around for NaN
  static constexpr int kMantissa = 23, kTerms = 7;  // r^8 / 8! is below a quarter of the last place of r
  static constexpr float kLog2e = 1.44269504f, kRound = 12582912.0f;  // 1.5 * 2^23
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f, kLimit = 87.0f;
};

template <>
struct Exponential<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kTerms = 13;
  static constexpr double kLog2e = 1.4426950408889634, kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLn2High = 0.693147180369123816490, kLn2Low = 1.90821492927058770002e-10, kLimit = 708.0;
};

constexpr double factorial(int n) { return n < 2 ? 1.0 : n * factorial(n - 1); }

// y = n ln 2 + r with |r| <= ln 2 / 2: returns 2^n in `power` and e^r - 1, by its series.
template <class T>
[[gnu::always_inline]] inline Vector<T> reduced_expm1(Vector<T> y, Vector<T> &power) {
  using E = Exponential<T>;
  typedef typename E::Bits Bits __attribute__((vector_size(kVectorBytes)));
  Vector<T> shifted = fma(y, splat<T>(E::kLog2e), splat<T>(E::kRound));  // n is in the lowest bits
  Vector<T> n = shifted - splat<T>(E::kRound);
  Bits bits, one;
  Vector<T> ones = splat<T>(1);
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&one, &ones, sizeof one);
  bits = (bits << E::kMantissa) + one;
  std::memcpy(&power, &bits, sizeof power);
  Vector<T> r = fma(n, splat<T>(-E::kLn2High), y);
  r = fma(n, splat<T>(-E::kLn2Low), r);
  Vector<T> series = splat<T>(T(1 / factorial(E::kTerms)));
#pragma GCC unroll 16
  for (int k = E::kTerms - 1; k >= 2; --k) series = fma(series, r, splat<T>(T(1 / factorial(k))));
  return fma(series * r, r, r);
}

// σ(z) = 1 / (1 + e^-z). Error: at most 2 units in the last place for z >= -87 (double: -708); below, at most 2e-38.
template <class T>
[[gnu::always_inline]] inline Vector<T> sigmoid(Vector<T> z) {
  Vector<T> limit = splat<T>(Exponential<T>::kLimit), power;
  Vector<T> y = -z;
  y = y > limit ? limit : y;
  y = y < -limit ? -limit : y;  // NaN stays
  Vector<T> e = reduced_expm1<T>(y, power);
  return splat<T>(1) / (splat<T>(1) + fma(power, e, power));
}

// e^z for z <= 0, at least e^-87 (double: e^-708).
template <class T>
[[gnu::always_inline]] inline Vector<T> exponential(Vector<T> z) {
  Vector<T> limit = splat<T>(-Exponential<T>::kLimit), power;
  Vector<T> e = reduced_expm1<T>(z < limit ? limit : z, power);
  return fma(power, e, power);
}

// tanh z = -e / (2 + e) with e = e^(-2|z|) - 1, with the sign of z. Error: at most 3 units in the last place.
template <class T>
[[gnu::always_inline]] inline Vector<T> tanh(Vector<T> z) {
  Vector<T> limit = splat<T>(-Exponential<T>::kLimit), power;
  Vector<T> y = z < Vector<T>{} ? z + z : -(z + z);
  y = y < limit ? limit : y;
  Vector<T> r = reduced_expm1<T>(y, power);
  Vector<T> e = fma(power, r, power - splat<T>(1));
  Vector<T> t = e / (splat<T>(2) + e);
  return z < Vector<T>{} ? t : -t;
}

// Treats denormal numbers, which take a hundred times longer, as 0 while an object of this class exists.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | 0x8040); }
  ~FlushDenormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(before_ | (uint64_t(1) << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_;
#endif
};

}  // namespace
