// What a model file holds, read from memory and checked; src/peephole/model_file.py writes such files.
#ifndef PEEPHOLE_MODEL_FILE_H
#define PEEPHOLE_MODEL_FILE_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "json.h"
#include "peephole.h"
#include "safetensors.h"

namespace peephole {

// The shape of the model: the settings model.* of src/peephole/config.py that the equations need.
struct ModelConfig {
  bool gru = false;
  int32_t form = PEEPHOLE_FULL;  // enum peephole_form
  int64_t hidden_size = 256;
  int64_t encoder_size = 256;  // both directions together
  int64_t embedding_size = 128;
  int64_t encoder_layers = 1, decoder_layers = 1;
  bool bidirectional = true;
  Context context = Context::kAttention;  // (17), or one of (8)
  Alignment attention = Alignment::kAdditive;  // (15), where the context is kAttention
};

// The symbols of one side. Names of ids 0 to 3 are <pad>, <s>, </s>, <unk>; of the subword kinds, the pieces follow.
struct SymbolTable {
  std::string kind;       // characters, whitespace, bpe or unigram
  std::string normalize;  // NFC, NFKC or none
  std::vector<std::string> names;
};

struct ModelFile {
  ModelConfig config;
  SymbolTable source, target;
  // Exactly the network's, under the names of Seq2Seq.state_dict(). In format 2 a matrix (not a diagonal peephole) may
  // be kBfloat16, or kInt8 (O, K) with `<name>.scale`, kFloat32 (O): weight[o][k] = scale[o] · int8[o][k].
  std::map<std::string, Tensor> tensors;
};

// Reads a model file. Nothing is copied but names and symbols: `data` must outlive the tensors.
// Throws FileError for anything but a whole model file of format 1 or 2. What the weights are is not looked at: they
// may be NaN.
ModelFile read_model_file(const void *data, size_t size);

}  // namespace peephole

#endif
