// The symbols of one side of a model, by their numbers.
#pragma once

#include <string>
#include <vector>

#include "file/json.h"

namespace peephole {

struct SymbolTable {
  std::string kind;       // characters, whitespace, bpe or unigram
  std::string normalize;  // NFC, NFKC or none
  std::vector<std::string> names;  // <pad>, <s>, </s>, <unk>, then the symbols; of the subword kinds, the pieces
};

// Reads a table as src/peephole/symbols.py writes it. Of a segmenter only the pieces are read.
// Throws FileError.
SymbolTable read_symbols(const Json &tree);

}  // namespace peephole
