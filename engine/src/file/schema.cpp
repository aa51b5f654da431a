#include "file/schema.h"

#include <utility>

namespace peephole {

Schema::Schema(const Architecture &architecture, int64_t num_source_symbols, int64_t num_target_symbols)
    : architecture_(architecture), encoder_(size_t(architecture.encoder_layers * architecture.directions())),
      decoder_(size_t(architecture.decoder_layers)) {
  const Architecture &a = architecture_;
  view_.gru = a.gru;
  view_.form = a.form;
  view_.hidden_size = a.hidden_size;
  view_.encoder_size = a.memory_size();
  view_.embedding_size = a.embedding_size;
  view_.encoder_layers = a.input == Input::kNone ? 0 : a.encoder_layers;
  view_.decoder_layers = a.decoder_layers;
  view_.directions = a.directions();
  view_.context = a.input == Input::kNone ? Context::kLast : a.context;
  view_.input = a.input;
  view_.input_size = a.input == Input::kFrames || a.input == Input::kConvolution ? a.input_size : 0;
  view_.input_planes = a.input_planes;
  view_.frame_stack = a.frame_stack;
  view_.convolution_layers = a.input == Input::kConvolution ? a.convolution_layers : 0;
  view_.pyramid = a.encoder_pyramid;
  view_.residual = a.residual;
  view_.layer_norm = a.layer_norm;
  view_.input_feeding = a.input_feeding;
  view_.zoneout_hidden = a.zoneout_hidden;
  view_.zoneout_cell = a.zoneout_cell;
  view_.output_kind = a.output;
  view_.output_size = a.output_size;
  view_.source_units = !a.constant_units;
  view_.continues = a.continues;
  view_.feedback = a.feedback;
  view_.attention = a.attention;
  view_.heads = a.attention_heads;
  view_.copies = a.output == Output::kCopy;
  view_.encoder = encoder_.data();
  view_.decoder = decoder_.data();
  if (a.input != Input::kNone) {
    add_frontend(num_source_symbols);
    add_encoder();
  }
  if (a.encoder_size != a.hidden_size && a.input != Input::kNone) {
    add_bridge("bridge.hidden.", bridge_hidden_);
    if (!a.gru) add_bridge("bridge.cell.", bridge_cell_);
    view_.bridge_hidden = bridge_hidden_.data();
    view_.bridge_cell = bridge_cell_.data();
  }
  add_decoder(num_target_symbols);
  view_.has_ctc = a.ctc;
  if (a.ctc) add_linear("ctc", a.encoder_size, num_target_symbols, view_.ctc);
}

void Schema::add(const std::string &name, Shape shape, Role role, MatrixView &view) {
  view.rows = shape.size() == 1 ? 1 : shape[0];  // a vector is a matrix of one row
  view.columns = shape.back();
  tensors_.push_back({name, std::move(shape), role, &view});
}

void Schema::add_matrix(const std::string &name, int64_t rows, int64_t columns, MatrixView &view) {
  add(name, {rows, columns}, Role::kMatrix, view);
}

void Schema::add_vector(const std::string &name, int64_t size, MatrixView &view) {
  add(name, {size}, Role::kVector, view);
}

void Schema::add_linear(const std::string &name, int64_t inputs, int64_t outputs, LinearView &view) {
  add_matrix(name + ".weight", outputs, inputs, view.weight);
  add_vector(name + ".bias", outputs, view.bias);
}

// One layer in one direction.
void Schema::add_cell(const std::string &name, int64_t inputs, int64_t hidden, LayerView &view) {
  const int64_t gates = architecture_.gru ? 3 : 4;
  add_matrix(name + ".weight_input", gates * hidden, inputs, view.input);
  add_matrix(name + ".weight_hidden", gates * hidden, hidden, view.hidden);
  if (architecture_.gru) {
    add_vector(name + ".bias_input", gates * hidden, view.bias);
    add_vector(name + ".bias_hidden", gates * hidden, view.bias_hidden);
  } else {
    add_vector(name + ".bias", gates * hidden, view.bias);
    add_peephole(name + ".weight_peephole", hidden, view);
  }
  if (!architecture_.layer_norm) return;
  add_vector(name + ".gain", gates * hidden, view.gain);
  if (architecture_.gru) return;
  add_vector(name + ".cell_gain", hidden, view.cell_gain);
  add_vector(name + ".cell_bias", hidden, view.cell_bias);
}

void Schema::add_peephole(const std::string &name, int64_t hidden, LayerView &view) {
  if (architecture_.form == PEEPHOLE_FULL) add_matrix(name, 3 * hidden, hidden, view.peephole);
  if (architecture_.form == PEEPHOLE_DIAGONAL) add(name, {3, hidden}, Role::kDiagonal, view.diagonal);
}

void Schema::add_frontend(int64_t num_symbols) {
  const Architecture &a = architecture_;
  if (a.input == Input::kSymbols) {
    add_matrix("frontend.embedding.weight", num_symbols, a.embedding_size, view_.source_embedding);
    if (a.ngram_rows) add_matrix("frontend.ngrams.weight", a.ngram_rows, a.embedding_size, view_.ngrams);
    return;
  }
  add_vector("frontend.mean", a.input_size, view_.frame_mean);
  add_vector("frontend.scale", a.input_size, view_.frame_scale);
  int64_t channels = a.frame_stack, features = a.input_size;
  if (a.input == Input::kConvolution) {
    channels = a.input_planes;
    features /= a.input_planes;
    convolutions_.resize(size_t(a.convolution_layers));
    view_.convolutions = convolutions_.data();
    for (size_t layer = 0; layer < convolutions_.size(); ++layer) {
      add_linear("frontend.layers." + std::to_string(layer), 9 * channels, a.convolution_channels,
                 convolutions_[layer]);
      channels = a.convolution_channels;
      features = (features + 1) / 2;
    }
  }
  add_linear("frontend.projection", channels * features, a.embedding_size, view_.projection);
}

void Schema::add_encoder() {
  const Architecture &a = architecture_;
  auto inputs = [&](int64_t layer) {
    if (layer == 0) return a.embedding_size;
    return layer <= a.encoder_pyramid ? 2 * a.encoder_size : a.encoder_size;
  };
  for (int64_t layer = 0; layer < a.encoder_layers; ++layer)
    for (int64_t direction = 0; direction < a.directions(); ++direction)
      add_cell("encoder.recurrent.layers." + std::to_string(layer) + "." + std::to_string(direction),
               inputs(layer), a.encoder_size / a.directions(),
               encoder_[size_t(layer * a.directions() + direction)]);
}

void Schema::add_bridge(const std::string &name, std::vector<LinearView> &layers) {
  layers.resize(size_t(architecture_.decoder_layers));
  for (size_t layer = 0; layer < layers.size(); ++layer)
    add_linear(name + std::to_string(layer), architecture_.encoder_size, architecture_.hidden_size, layers[layer]);
}

void Schema::add_attention() {
  const Architecture &a = architecture_;
  const int64_t hidden = a.hidden_size, memory = a.encoder_size;
  switch (a.attention) {
    case Alignment::kAdditive: add_additive(); break;
    case Alignment::kDot: break;
    case Alignment::kGeneral: add_matrix("decoder.attention.weight", hidden, memory, view_.weight_keys); break;
    case Alignment::kLocation:
      add_additive();
      add_vector("decoder.attention.bias", hidden, view_.attention_bias);
      add_matrix("decoder.attention.filters", a.location_channels, a.location_width, view_.filters);
      add_matrix("decoder.attention.weight_location", hidden, a.location_channels, view_.weight_location);
      break;
    case Alignment::kCoverage:
      add_additive();
      add_vector("decoder.attention.bias", hidden, view_.attention_bias);
      add_vector("decoder.attention.weight_coverage", hidden, view_.weight_coverage);
      break;
    case Alignment::kMultihead:
      add_additive();
      add_matrix("decoder.attention.weight_values", memory, memory, view_.weight_values);
      add_matrix("decoder.attention.weight_output", memory, memory, view_.weight_output);
      break;
  }
}

void Schema::add_additive() {
  const int64_t hidden = architecture_.hidden_size;
  add_matrix("decoder.attention.weight_query", hidden, hidden, view_.weight_query);
  add_matrix("decoder.attention.weight_keys", hidden, architecture_.encoder_size, view_.weight_keys);
  add_vector("decoder.attention.vector", hidden, view_.vector);
  if (architecture_.attention_symbol)
    add_matrix("decoder.attention.weight_symbol", hidden, architecture_.embedding_size, view_.weight_symbol);
}

void Schema::add_decoder(int64_t num_symbols) {
  const int64_t hidden = architecture_.hidden_size, memory = architecture_.memory_size();
  const int64_t embedding = architecture_.embedding_size;
  int64_t outputs = num_symbols;
  if (!is_vectors(architecture_.output)) {
    add_matrix("decoder.embedding.weight", num_symbols, embedding, view_.target_embedding);
  } else {
    const int64_t size = architecture_.output_size;
    outputs = size * (architecture_.output == Output::kGaussian ? 2 : architecture_.quantiles);
    if (architecture_.constant_units) {
      add_vector("decoder.mean", size, view_.vector_mean);
      add_vector("decoder.deviation", size, view_.vector_deviation);
    }
    add_matrix("decoder.embedding.weight", embedding, size, view_.target_embedding);
    add_vector("decoder.embedding.bias", embedding, view_.vector_bias);
  }
  if (view_.context == Context::kAttention) add_attention();
  for (size_t layer = 0; layer < decoder_.size(); ++layer)
    add_cell("decoder.layers." + std::to_string(layer), layer ? hidden : architecture_.decoder_input_size(), hidden,
             decoder_[layer]);
  add_linear("decoder.readout", hidden + memory + embedding, hidden, view_.readout);
  add_linear("decoder.output", hidden, outputs, view_.output);
  if (!view_.copies) return;
  add_vector("decoder.output.gate_weight", hidden + memory + embedding, view_.gate_weight);
  add_vector("decoder.output.gate_bias", 1, view_.gate_bias);
}

}  // namespace peephole
