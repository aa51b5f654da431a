// The rows of a table of trigrams of symbols, (66).
#pragma once

#include <cstdint>

#include "peephole.h"

namespace {

// Calls row(t, r) with the row r, below num_rows, of the trigram around each symbol t of a source.
template <class Symbol, class Row>
inline void for_ngrams(const Symbol *symbols, int64_t length, int64_t num_rows, Row row) {
  constexpr uint64_t kPrime = (uint64_t(1) << 31) - 1, kSummand = 668265263;
  auto join = [](uint64_t code, int64_t symbol) {
    const uint64_t sum = (code + uint64_t(symbol)) % kPrime;
    return sum * ((sum + kSummand) % kPrime) % kPrime;
  };
  for (int64_t t = 0; t < length; ++t) {
    const int64_t before = t ? int64_t(symbols[t - 1]) : int64_t(PEEPHOLE_BOS);
    const int64_t after = t + 1 < length ? int64_t(symbols[t + 1]) : int64_t(PEEPHOLE_EOS);
    const uint64_t code = join(join(join(0, before), symbols[t]), after);
    row(t, int64_t(code * uint64_t(num_rows) / kPrime));
  }
}

}  // namespace
