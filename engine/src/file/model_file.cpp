#include "file/model_file.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace peephole {

namespace {

using Shape = std::vector<int64_t>;

using Shapes = std::map<std::string, Shape>;

// The weights of one layer in one direction.
void add_layer(Shapes &shapes, const std::string &name, const ModelConfig &config, int64_t inputs, int64_t hidden) {
  const int64_t gates = config.gru ? 3 : 4;
  shapes[name + ".weight_input"] = {gates * hidden, inputs};
  shapes[name + ".weight_hidden"] = {gates * hidden, hidden};
  if (config.gru) {
    shapes[name + ".bias_input"] = shapes[name + ".bias_hidden"] = {gates * hidden};
    return;
  }
  shapes[name + ".bias"] = {gates * hidden};
  if (config.form == PEEPHOLE_FULL) shapes[name + ".weight_peephole"] = {3 * hidden, hidden};
  if (config.form == PEEPHOLE_DIAGONAL) shapes[name + ".weight_peephole"] = {3, hidden};
}

void add_linear(Shapes &shapes, const std::string &name, int64_t inputs, int64_t outputs) {
  shapes[name + ".weight"] = {outputs, inputs};
  shapes[name + ".bias"] = {outputs};
}

void add_attention(Shapes &shapes, const ModelConfig &config) {
  const int64_t hidden = config.hidden_size, memory = config.encoder_size;
  if (config.context != Context::kAttention) return;
  if (config.attention == Alignment::kAdditive) {
    shapes["decoder.attention.weight_query"] = {hidden, hidden};
    shapes["decoder.attention.weight_keys"] = {hidden, memory};
    shapes["decoder.attention.vector"] = {hidden};
  }
  if (config.attention == Alignment::kGeneral) shapes["decoder.attention.weight"] = {hidden, memory};
}

// The names and shapes of build_seq2seq(…).state_dict() in src/peephole/nn/seq2seq.py.
Shapes network_shapes(const ModelConfig &config, int64_t source_symbols, int64_t target_symbols) {
  const int64_t hidden = config.hidden_size, memory = config.encoder_size, embedding = config.embedding_size;
  const int64_t directions = config.bidirectional ? 2 : 1;
  Shapes shapes;
  shapes["encoder.embedding.weight"] = {source_symbols, embedding};
  for (int64_t layer = 0; layer < config.encoder_layers; ++layer)
    for (int64_t direction = 0; direction < directions; ++direction)
      add_layer(shapes, "encoder.recurrent.layers." + std::to_string(layer) + "." + std::to_string(direction), config,
                layer ? memory : embedding, memory / directions);
  for (int64_t layer = 0; layer < config.decoder_layers; ++layer) {
    if (memory != hidden) add_linear(shapes, "bridge.hidden." + std::to_string(layer), memory, hidden);
    if (memory != hidden && !config.gru) add_linear(shapes, "bridge.cell." + std::to_string(layer), memory, hidden);
    add_layer(shapes, "decoder.layers." + std::to_string(layer), config, layer ? hidden : embedding + memory, hidden);
  }
  shapes["decoder.embedding.weight"] = {target_symbols, embedding};
  add_attention(shapes, config);
  add_linear(shapes, "decoder.readout", hidden + memory + embedding, hidden);
  add_linear(shapes, "decoder.output", hidden, target_symbols);
  return shapes;
}

bool ends_with(const std::string &text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// In format 2 the embeddings say how all matrices are stored.
std::map<std::string, Tensor> wanted_tensors(const Shapes &shapes, const ModelConfig &config, int version,
                                             const std::map<std::string, Tensor> &got) {
  auto embedding = got.find("decoder.embedding.weight");
  const Number stored = version < 2 || embedding == got.end() ? Number::kFloat32 : embedding->second.number;
  std::map<std::string, Tensor> wanted;
  for (const auto &[name, shape] : shapes) {
    const bool diagonal = config.form == PEEPHOLE_DIAGONAL && ends_with(name, ".weight_peephole");
    Tensor &tensor = wanted[name];
    tensor.shape = shape;
    if (shape.size() == 2 && !diagonal) tensor.number = stored;
    if (tensor.number == Number::kInt8) wanted[name + ".scale"].shape = {shape[0]};
  }
  return wanted;
}

void check_tensors(const std::map<std::string, Tensor> &wanted, const std::map<std::string, Tensor> &got) {
  auto text = [](const std::map<std::string, Tensor> &tensors, const std::string &name) {
    auto found = tensors.find(name);
    if (found == tensors.end()) return std::string("None");
    return number_name(found->second.number) + " " + shape_text(found->second.shape);
  };
  auto refuse = [&](const std::string &name) {
    throw FileError("tensor " + quoted(name) + ": wanted " + text(wanted, name) + ", got " + text(got, name));
  };
  for (const auto &[name, tensor] : wanted) {
    auto found = got.find(name);
    if (found == got.end() || found->second.number != tensor.number || found->second.shape != tensor.shape) refuse(name);
  }
  for (const auto &entry : got)
    if (!wanted.count(entry.first)) refuse(entry.first);
}

int read_version(const std::map<std::string, std::string> &metadata) {
  auto text = [&](const char *name) {
    auto found = metadata.find(name);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (text("format") != "peephole")
    throw FileError("wanted a model saved by peephole, got another program's safetensors file");
  const std::string version = text("format_version");
  if (version != "1" && version != "2")
    throw FileError("wanted format version 2 or older, got " + quoted(version) + "; a newer peephole reads it");
  return version[0] - '0';
}

Json read_table(const std::map<std::string, std::string> &metadata, const std::string &key) {
  auto found = metadata.find(key);
  if (found == metadata.end()) throw FileError("there is no " + key);
  Json tree;
  try {
    tree = read_json(found->second);
  } catch (const FileError &error) {
    throw FileError(key + ": " + error.what());
  }
  if (tree.object() == nullptr) throw FileError(key + ": wanted a JSON object, got " + tree.describe());
  return tree;
}

void check_checksum(const std::map<std::string, std::string> &metadata, const std::map<std::string, Tensor> &tensors) {
  auto stored = metadata.find("checksum");  // other programs write none
  if (stored == metadata.end()) return;
  const std::string got = checksum(metadata, tensors);
  if (stored->second != got) throw FileError("damaged: wanted checksum " + quoted(stored->second) + ", got " + got);
}

}  // namespace

ModelFile read_model_file(const void *data, size_t size) {
  const Safetensors container(data, size);
  const auto &metadata = container.metadata();
  const int version = read_version(metadata);
  ModelFile file;
  file.tensors = container.tensors();
  check_checksum(metadata, file.tensors);
  try {
    file.config = read_config(read_table(metadata, "config"));
    file.source = read_symbols(read_table(metadata, "source_symbols"));
    file.target = read_symbols(read_table(metadata, "target_symbols"));
  } catch (const FileError &error) {
    throw FileError(std::string("damaged metadata: ") + error.what());
  }
  const Shapes shapes = network_shapes(file.config, int64_t(file.source.names.size()), int64_t(file.target.names.size()));
  check_tensors(wanted_tensors(shapes, file.config, version, file.tensors), file.tensors);
  return file;
}

}  // namespace peephole
