// What a model file holds, read from memory and checked; src/peephole/model_file.py writes such files.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "file/architecture.h"
#include "file/safetensors.h"
#include "file/symbol_table.h"

namespace peephole {

struct ModelFile {
  ModelConfig config;
  SymbolTable source, target;
  // Exactly the network's, under the names of Seq2Seq.state_dict(). In format 2 the matrices, but not diagonal
  // peepholes, may all be kBfloat16, or all kInt8 (O, K) with `<name>.scale`, kFloat32 (O), beside each:
  // weight[o][k] = scale[o] · int8[o][k].
  std::map<std::string, Tensor> tensors;
};

// Reads a model file. Nothing is copied but names and symbols: `data` must outlive the tensors.
// Throws FileError for anything but a whole model file of format 1 or 2. What the weights are is not looked at: they
// may be NaN.
ModelFile read_model_file(const void *data, size_t size);

}  // namespace peephole
