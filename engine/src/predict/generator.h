// Random numbers of samples: NumPy's PCG64 and its `random()`.
//
// Source: O'Neill 2014, "PCG: A family of simple fast space-efficient statistically good algorithms for random number
// generation", XSL RR 128/64; jumps: Brown 1994, "Random number generation with arbitrary strides".
#pragma once

#include <cstdint>

namespace peephole {

class Generator {
 public:
  // words: high and low half of the state, then of the increment.
  explicit Generator(const uint64_t *words) : state_(join(words[0], words[1])), increment_(join(words[2], words[3])) {}

  // The next number, uniform in [0, 1).
  double uniform() {
    state_ = state_ * multiplier() + increment_;
    const uint64_t folded = uint64_t(state_ >> 64) ^ uint64_t(state_), turns = uint64_t(state_ >> 122);
    const uint64_t bits = folded >> turns | folded << (-turns & 63);
    return double(bits >> 11) * 0x1p-53;
  }

  // Skips `count` numbers.
  void skip(uint64_t count) {
    Wide factor = multiplier(), sum = increment_, all_factors = 1, all_sums = 0;
    for (; count; count >>= 1) {
      if (count & 1) {
        all_factors *= factor;
        all_sums = all_sums * factor + sum;
      }
      sum *= factor + 1;
      factor *= factor;
    }
    state_ = all_factors * state_ + all_sums;
  }

 private:
  __extension__ typedef unsigned __int128 Wide;
  static Wide join(uint64_t high, uint64_t low) { return Wide(high) << 64 | low; }
  static Wide multiplier() { return join(0x2360ED051FC65DA4, 0x4385DF649FCCF645); }
  Wide state_, increment_;
};

}  // namespace peephole
