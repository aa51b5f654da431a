// Products of embeddings, which depend on nothing but the symbol.
#pragma once

#include "simd/matrix.h"

namespace {

// The products of a vocabulary's embeddings E(y) with some weights: a table computed once, or, for large vocabularies,
// rows computed when their symbols are read.
class SymbolProducts {
 public:
  // project(rows, out) writes `width` numbers for each row of operands.
  template <class Project>
  void pack(const Operands &embeddings, int64_t symbols, int64_t width, Project project) {
    constexpr int64_t kLargestTable = 1 << 20;  // numbers
    width_ = width;
    has_table_ = symbols * width <= kLargestTable;
    if (!has_table_) return;
    Selection all;
    all.clear(symbols);
    for (int64_t v = 0; v < symbols; ++v) all.add(embeddings, v);
    table_.reserve(symbols * width);
    project(all, table_.at(0));
  }

  // rows[r] becomes the product of symbol r; without a table, `made` holds the products.
  template <class Project>
  void find(const Operands &embeddings, int64_t n, const int32_t *symbols, Project project, Selection &selection,
            Buffer<float> &made, const float **rows) const {
    if (!has_table_) {
      selection.clear(n);
      for (int64_t r = 0; r < n; ++r) selection.add(embeddings, symbols[r]);
      made.reserve(n * width_);
      project(selection, made.at(0));
    }
    for (int64_t r = 0; r < n; ++r) rows[r] = has_table_ ? table_.at(symbols[r] * width_) : made.at(r * width_);
  }

 private:
  int64_t width_ = 0;
  bool has_table_ = false;
  Buffer<float> table_;
};

// Reads the rows of an embedding as operands.
inline void read_embeddings(Operands &to, const MatrixView &embedding) {
  Buffer<float> line;
  to.reserve(embedding.rows);
  for (int64_t v = 0; v < embedding.rows; ++v) {
    read_padded(line, embedding, v);
    to.put(v, line.at(0));
  }
}

}  // namespace
