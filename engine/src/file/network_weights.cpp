#include "file/network_weights.h"

#include <string>

#include "peephole.h"

namespace peephole {

namespace {

// A tensor of one or two dimensions; a vector is a matrix of one row.
MatrixView find(const ModelFile &file, const std::string &name) {
  const Tensor &tensor = file.tensors.at(name);
  bool is_vector = tensor.shape.size() == 1;
  auto scales = file.tensors.find(name + ".scale");
  return {tensor.data, scales == file.tensors.end() ? nullptr : scales->second.data, tensor.number,
          is_vector ? 1 : tensor.shape[0], is_vector ? tensor.shape[0] : tensor.shape[1]};
}

LinearView linear(const ModelFile &file, const std::string &name) {
  return {find(file, name + ".weight"), find(file, name + ".bias")};
}

LayerView layer(const ModelFile &file, const std::string &name) {
  const ModelConfig &config = file.config;
  LayerView view;
  view.input = find(file, name + ".weight_input");
  view.hidden = find(file, name + ".weight_hidden");
  view.bias = find(file, name + (config.gru ? ".bias_input" : ".bias"));
  if (config.gru) view.bias_hidden = find(file, name + ".bias_hidden");
  if (config.form == PEEPHOLE_FULL) view.peephole = find(file, name + ".weight_peephole");
  if (config.form == PEEPHOLE_DIAGONAL) view.diagonal = find(file, name + ".weight_peephole");
  return view;
}

}  // namespace

NetworkViewOwner::NetworkViewOwner(const ModelFile &file) {
  const ModelConfig &config = file.config;
  NetworkView &v = view_;
  v.gru = config.gru;
  v.form = config.form;
  v.hidden_size = config.hidden_size;
  v.encoder_size = config.encoder_size;
  v.embedding_size = config.embedding_size;
  v.encoder_layers = config.encoder_layers;
  v.decoder_layers = config.decoder_layers;
  v.directions = config.bidirectional ? 2 : 1;
  v.context = config.context;
  v.alignment = config.attention;
  v.source_embedding = find(file, "encoder.embedding.weight");
  v.target_embedding = find(file, "decoder.embedding.weight");
  v.number = v.target_embedding.number;
  for (int64_t l = 0; l < v.encoder_layers; ++l)
    for (int64_t d = 0; d < v.directions; ++d)
      encoder_.push_back(layer(file, "encoder.recurrent.layers." + std::to_string(l) + "." + std::to_string(d)));
  for (int64_t l = 0; l < v.decoder_layers; ++l) decoder_.push_back(layer(file, "decoder.layers." + std::to_string(l)));
  if (v.encoder_size != v.hidden_size) {
    for (int64_t l = 0; l < v.decoder_layers; ++l) {
      bridge_hidden_.push_back(linear(file, "bridge.hidden." + std::to_string(l)));
      if (!v.gru) bridge_cell_.push_back(linear(file, "bridge.cell." + std::to_string(l)));
    }
    v.bridge_hidden = bridge_hidden_.data();
    v.bridge_cell = bridge_cell_.data();
  }
  v.encoder = encoder_.data();
  v.decoder = decoder_.data();
  if (v.context == Context::kAttention) {
    if (v.alignment == Alignment::kAdditive) {
      v.weight_query = find(file, "decoder.attention.weight_query");
      v.weight_keys = find(file, "decoder.attention.weight_keys");
      v.vector = find(file, "decoder.attention.vector");
    }
    if (v.alignment == Alignment::kGeneral) v.weight_keys = find(file, "decoder.attention.weight");
  }
  v.readout = linear(file, "decoder.readout");
  v.output = linear(file, "decoder.output");
}

}  // namespace peephole
