// Dropout masks: a hash of each unit's position, as peephole/nn/noise.py defines it.
#pragma once

#include "peephole.h"
#include "simd/vector.h"
#include "runtime/workers.h"

namespace {

// Mixes a number so that every bit depends on every other, as in splitmix64.
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Two rounds of MurmurHash3's finaliser without its last shift, on mixed numbers.
inline Vector<uint32_t> mix(Vector<uint32_t> x) {
  x *= splat<uint32_t>(0x85EBCA6B);
  x ^= x >> 15;
  return x * splat<uint32_t>(0xC2B2AE35);
}

class DropoutMask {
 public:
  explicit DropoutMask(const peephole_dropout_mask &problem) : p_(problem) {}

  void run() {
    const int64_t per_task = kTaskUnits / (p_.steps * p_.units) + 1;  // examples
    for_tasks(p_.threads, (p_.batch + per_task - 1) / per_task, [&](int64_t task, int) {
      for (int64_t b = task * per_task; b < p_.batch && b < (task + 1) * per_task; ++b) example(b);
    });
  }

 private:
  static constexpr int64_t kTaskUnits = 1 << 16;  // fewer units take less time than waking a thread
  static constexpr uint64_t kGolden = 0x9E3779B9;

  void example(int64_t b) {
    const uint64_t row = mix(uint64_t(p_.examples[b]) ^ uint64_t(p_.place));
    for (int64_t t = 0; t < p_.steps; ++t)
      step(uint32_t(mix(row + kGolden * uint64_t(t + 1))), p_.mask + (b * p_.steps + t) * p_.units);
  }

  void step(uint32_t key, float *mask) {
    const Vector<float> kept = splat<float>(1 / p_.keep_rate);
    Vector<int32_t> kept_bits, bits;
    std::memcpy(&kept_bits, &kept, sizeof kept);
    for (int64_t u = 0; u < p_.units; u += kLanes<float>) {
      const Vector<uint32_t> hash = mix(splat<uint32_t>(key) ^ load(p_.unit_keys + u, p_.units - u));
      std::memcpy(&bits, &hash, sizeof bits);
      const Vector<int32_t> chosen = (bits >= splat<int32_t>(p_.threshold)) & kept_bits;
      Vector<float> values;
      std::memcpy(&values, &chosen, sizeof values);
      store(mask + u, values, p_.units - u);
    }
  }

  const peephole_dropout_mask &p_;
};

inline void make_dropout_mask(const peephole_dropout_mask &problem) { DropoutMask(problem).run(); }

}  // namespace
