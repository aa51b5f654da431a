// The content of a model file, read from memory and checked; src/peephole/storage writes such files.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "file/architecture.h"
#include "file/safetensors.h"
#include "file/schema.h"
#include "file/symbol_table.h"

namespace peephole {

struct ModelFile {
  Architecture architecture;
  SymbolTable source, target;
  // Exactly the network's, by name. From format 2 on the matrices may all be kBfloat16, or all kInt8 (O, K) with
  // `<name>.scale`, kFloat32 (O), beside each: weight[o][k] = scale[o] · int8[o][k].
  std::map<std::string, Tensor> tensors;
  std::unique_ptr<const Schema> schema;  // its view refers to the tensors' data

  const NetworkView &network() const { return schema->view(); }
};

// Reads a model file. Only names and symbols are copied: `data` must outlive the tensors and the network view.
// Throws FileError for anything but a whole model file of format 1, 2 or 3. The values of weights are not checked: they
// may be NaN. How the model was made, `settings` and `made` of format 3, is not read.
ModelFile read_model_file(const void *data, size_t size);

}  // namespace peephole
