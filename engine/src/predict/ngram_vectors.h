// What the encoder reads of symbols and their trigrams: the sums of two vectors, (66).
#pragma once

#include "cell/ngrams.h"
#include "simd/matrix.h"

namespace {

class NgramVectors {
 public:
  NgramVectors(const MatrixView &symbols, const MatrixView &ngrams)
      : width_(in_lanes<float>(symbols.columns)), rows_(ngrams.rows) {
    read(symbols, symbols_);
    read(ngrams, ngrams_);
  }

  // Writes the vectors of a source's symbols as operands, from row `first` on.
  void write(const int32_t *source, int64_t length, int64_t first, Buffer<float> &line, Operands &to) const {
    line.reserve(width_);
    for_ngrams(source, length, rows_, [&](int64_t t, int64_t row) {
      const float *symbol = symbols_.at(source[t] * width_), *ngram = ngrams_.at(row * width_);
      for (int64_t i = 0; i < width_; i += kLanes<float>) store(line.at(i), load(symbol + i) + load(ngram + i));
      to.put(first + t, line.at(0));
    });
  }

 private:
  int64_t width_, rows_;
  Buffer<float> symbols_, ngrams_;

  void read(const MatrixView &from, Buffer<float> &to) const {
    Buffer<float> line;
    to.reserve(from.rows * width_);
    for (int64_t row = 0; row < from.rows; ++row) {
      read_padded(line, from, row);
      std::memcpy(to.at(row * width_), line.at(0), size_t(width_) * sizeof(float));
    }
  }
};

}  // namespace
