// The architecture of a model: kinds and sizes, from which its tensors follow (schema.h).
#pragma once

#include <cstdint>

#include "file/json.h"
#include "file/network_view.h"
#include "peephole.h"

namespace peephole {

// The defaults are those of src/peephole/sections.py.
struct Architecture {
  Input input = Input::kSymbols;
  int64_t input_size = 0;  // F, numbers in a frame; 0: not given
  int64_t input_planes = 1, frame_stack = 1;
  int64_t convolution_layers = 2, convolution_channels = 32;
  int64_t encoder_pyramid = 0;
  bool ctc = false;
  Output output = Output::kSymbols;
  int64_t output_size = 0;  // D, numbers in a vector; 0: not given
  int64_t quantiles = 9;    // Q, of Output::kQuantile
  bool constant_units = false, continues = true, feedback = true;  // of vectors
  bool gru = false;
  int32_t form = PEEPHOLE_FULL;  // enum peephole_form
  int64_t hidden_size = 256;
  int64_t encoder_size = 256;  // both directions together
  int64_t embedding_size = 128;
  int64_t ngram_rows = 0;  // of Input::kSymbols: N of (66); 0: none
  int64_t encoder_layers = 1, decoder_layers = 1;
  bool residual = false;  // the outputs of the layers from the second on are sums, (41)
  bool layer_norm = false;  // normalised gates and cells, (44)-(46)
  double zoneout_hidden = 0, zoneout_cell = 0;  // shares of h and c before a step that it keeps, (43)
  bool input_feeding = false;  // the decoder's lowest layer reads r_{t-1}, (62)
  bool bidirectional = true;
  Context context = Context::kAttention;
  Alignment attention = Alignment::kAdditive;  // for Context::kAttention
  int64_t location_channels = 10, location_width = 31;  // of Alignment::kLocation
  int64_t attention_heads = 4;                          // of Alignment::kMultihead
  bool attention_symbol = false;  // attention also reads E(y_{t-1}), (67); not of Alignment::kDot and kGeneral

  // M of the context that the decoder reads: 0 for a language model, which has no source.
  int64_t memory_size() const { return input == Input::kNone ? 0 : encoder_size; }
  // The numbers that the decoder's lowest layer reads.
  int64_t decoder_input_size() const { return embedding_size + memory_size() + (input_feeding ? hidden_size : 0); }
  int64_t directions() const { return bidirectional ? 2 : 1; }
};

// Reads the `architecture` of a file of format 3. Keys left out have the defaults.
// Throws FileError for an unknown key or kind, a value of the wrong type or out of range, and values that contradict each
// other.
Architecture read_architecture(const Json &tree);

// Reads the `config` of a file of format 1 or 2: its section `model`, of which keys about how the model was made are
// skipped. Throws FileError as read_architecture.
Architecture read_config(const Json &tree);

}  // namespace peephole
