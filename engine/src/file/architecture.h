// The shape of a model, as its file gives it.
#pragma once

#include <cstdint>

#include "file/json.h"
#include "file/network_view.h"
#include "peephole.h"

namespace peephole {

// The settings model.* of src/peephole/config.py that the equations need, with the defaults given there.
struct ModelConfig {
  bool gru = false;
  int32_t form = PEEPHOLE_FULL;  // enum peephole_form
  int64_t hidden_size = 256;
  int64_t encoder_size = 256;  // both directions together
  int64_t embedding_size = 128;
  int64_t encoder_layers = 1, decoder_layers = 1;
  bool bidirectional = true;
  Context context = Context::kAttention;
  Alignment attention = Alignment::kAdditive;  // for Context::kAttention
};

// Reads the settings from those of a run; sections other than `model` are not looked at.
// Throws FileError for an unknown key, and for a value that src/peephole/config.py does not write.
ModelConfig read_config(const Json &tree);

}  // namespace peephole
