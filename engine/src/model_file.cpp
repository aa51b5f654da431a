#include "model_file.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

namespace peephole {

namespace {

constexpr int64_t kLargestSize = 1 << 16, kMostLayers = 64;  // as in src/peephole/config.py
const std::vector<std::string> kSpecials = {"<pad>", "<s>", "</s>", "<unk>"};

using Shape = std::vector<int64_t>;

[[noreturn]] void damaged(const std::string &what) { throw FileError("damaged metadata: " + what); }

// config

// The settings of one section; `where` begins errors.
class Section {
 public:
  Section(const Json *values, std::string where) : values_(values), where_(std::move(where)) {}

  void check_names(const std::set<std::string> &known) const {
    for (const auto &member : *values_->object())
      if (!known.count(member.name)) damaged(where_ + ": unknown key " + quoted(member.name));
  }

  void read(const char *key, bool &setting) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    if (value->boolean() == nullptr) refuse(key, "bool", *value);
    setting = *value->boolean();
  }

  void read(const char *key, int64_t &setting, int64_t high) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    const double *number = value->number();
    if (number == nullptr || std::floor(*number) != *number) refuse(key, "int", *value);
    if (*number < 1 || *number > double(high)) refuse(key, "a number from 1 to " + std::to_string(high), *value);
    setting = int64_t(*number);
  }

  bool is_none(const char *key) const {
    const Json *value = find(key);
    return value == nullptr || value->is_null() || (value->text() != nullptr && *value->text() == "none");
  }

  // The choice's place among the choices becomes the setting.
  template <typename Setting>
  void read(const char *key, Setting &setting, const std::vector<std::string> &choices) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    std::string wanted;
    for (size_t place = 0; place < choices.size(); ++place) {
      if (value->text() != nullptr && *value->text() == choices[place]) {
        setting = Setting(place);
        return;
      }
      wanted += (place ? "|" : "") + choices[place];
    }
    refuse(key, wanted, *value);
  }

 private:
  const Json *find(const char *key) const { return values_ == nullptr ? nullptr : values_->find(key); }

  [[noreturn]] void refuse(const char *key, const std::string &wanted, const Json &got) const {
    damaged(where_ + "." + key + ": wanted " + wanted + ", got " + got.describe());
  }

  const Json *values_;  // null: all settings are the defaults
  std::string where_;
};

void check_config(const ModelConfig &config) {
  if (config.gru && config.form != PEEPHOLE_NONE)
    damaged("model.cell='gru' has no cell state to look at: set model.peephole='none'");
  if (config.bidirectional && config.encoder_size % 2)
    damaged("model.encoder_size: wanted an even number, half of it for each direction; got " +
            std::to_string(config.encoder_size));
  if (config.context == Context::kAttention && config.attention == Alignment::kDot &&
      config.encoder_size != config.hidden_size)
    damaged("model.attention='dot' compares states of one size: wanted encoder_size = hidden_size = " +
            std::to_string(config.hidden_size) + ", got " + std::to_string(config.encoder_size));
}

ModelConfig read_config(const Json &tree) {
  const Json *values = tree.find("model");
  const Section model(values, "config, model");
  if (values != nullptr) {
    if (values->object() == nullptr) damaged("config, model: wanted a table of keys, got " + values->describe());
    model.check_names({"cell", "peephole", "hidden_size", "encoder_size", "embedding_size", "encoder_layers",
                       "decoder_layers", "bidirectional", "context", "attention", "dropout", "forget_bias"});
  }
  ModelConfig config;
  model.read("cell", config.gru, {"lstm", "gru"});
  model.read("peephole", config.form, {"none", "diagonal", "full"});  // as enum peephole_form
  model.read("hidden_size", config.hidden_size, kLargestSize);
  config.encoder_size = config.hidden_size;
  if (!model.is_none("encoder_size")) model.read("encoder_size", config.encoder_size, kLargestSize);
  model.read("embedding_size", config.embedding_size, kLargestSize);
  model.read("encoder_layers", config.encoder_layers, kMostLayers);
  model.read("decoder_layers", config.decoder_layers, kMostLayers);
  model.read("bidirectional", config.bidirectional);
  model.read("context", config.context, {"attention", "last", "mean"});
  model.read("attention", config.attention, {"additive", "dot", "general"});
  check_config(config);
  return config;
}

// symbols

[[noreturn]] void bad_symbols(const std::string &what) { damaged("symbol table: " + what); }

void append_list(std::vector<std::string> &names, const Json *symbols) {
  if (symbols == nullptr || symbols->array() == nullptr)
    bad_symbols("wanted a list of symbols, got " + (symbols ? symbols->describe() : "none"));
  std::set<std::string_view> seen;
  for (const Json &symbol : *symbols->array()) {
    if (symbol.text() == nullptr) bad_symbols("wanted a list of symbols, got one with " + symbol.describe());
    if (!seen.insert(*symbol.text()).second) bad_symbols("a symbol stands in it twice: " + quoted(*symbol.text()));
    names.push_back(*symbol.text());
  }
}

// The pieces of a segmenter by their ids: byte pairs are {piece: id}, a unigram model is [[piece, score], …].
std::vector<std::string> read_pieces(const Json &vocabulary) {
  if (const Json::Object *members = vocabulary.object()) {
    std::vector<std::string> pieces(members->size());
    std::vector<bool> taken(members->size());
    for (const auto &[piece, id] : *members) {
      const double *number = id.number();
      if (number == nullptr || !(*number >= 0 && *number < double(pieces.size())) || std::floor(*number) != *number ||
          taken[size_t(*number)])
        bad_symbols("wanted the pieces numbered from 0 to " + std::to_string(pieces.size() - 1) + ", got " +
                    quoted(piece) + " with " + id.describe());
      pieces[size_t(*number)] = piece;
      taken[size_t(*number)] = true;
    }
    return pieces;
  }
  if (vocabulary.array() == nullptr) bad_symbols("wanted the segmenter's pieces, got " + vocabulary.describe());
  std::vector<std::string> pieces;
  std::set<std::string_view> seen;
  for (const Json &entry : *vocabulary.array()) {
    const Json::Array *pair = entry.array();
    if (pair == nullptr || pair->size() != 2 || (*pair)[0].text() == nullptr || (*pair)[1].number() == nullptr)
      bad_symbols("wanted pieces with scores, got " + entry.describe());
    if (!seen.insert(*(*pair)[0].text()).second)
      bad_symbols("a piece stands in it twice: " + quoted(*(*pair)[0].text()));
    pieces.push_back(*(*pair)[0].text());
  }
  return pieces;
}

// The segmenter is a JSON text of the `tokenizers` library. Its piece 0, the unknown, is <unk>; piece k has id k + 3.
void append_pieces(std::vector<std::string> &names, const std::string &kind, const Json *segmenter) {
  if (segmenter == nullptr || segmenter->text() == nullptr)
    bad_symbols("cannot read the " + kind + " segmenter: wanted a text, got " +
                (segmenter ? segmenter->describe() : "none"));
  Json tree;
  try {
    tree = read_json(*segmenter->text());
  } catch (const FileError &error) {
    bad_symbols("cannot read the " + kind + " segmenter: " + error.what());
  }
  const Json *model = tree.find("model");
  const Json *vocabulary = model ? model->find("vocab") : nullptr;
  if (vocabulary == nullptr) bad_symbols("cannot read the " + kind + " segmenter: it has no model.vocab");
  const std::vector<std::string> pieces = read_pieces(*vocabulary);
  if (!pieces.empty()) names.insert(names.end(), pieces.begin() + 1, pieces.end());
}

SymbolTable read_symbols(const Json &tree) {
  auto text = [&](const char *name) {
    const Json *value = tree.find(name);
    return value == nullptr || value->text() == nullptr ? std::string() : *value->text();
  };
  SymbolTable table{text("kind"), text("normalize"), kSpecials};
  const bool subwords = table.kind == "bpe" || table.kind == "unigram";
  const bool plain = table.kind == "characters" || table.kind == "whitespace";
  if (!(subwords || plain) || (table.normalize != "NFC" && table.normalize != "NFKC" && table.normalize != "none"))
    bad_symbols("unknown kind " + quoted(table.kind) + " or normalisation " + quoted(table.normalize));
  if (subwords)
    append_pieces(table.names, table.kind, tree.find("segmenter"));
  else
    append_list(table.names, tree.find("symbols"));
  return table;
}

// tensors

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

// Sets each matrix's wanted format to the one it has, and wants scales beside whole numbers.
std::map<std::string, Tensor> wanted_tensors(const Shapes &shapes, const ModelConfig &config, int version,
                                             const std::map<std::string, Tensor> &got) {
  std::map<std::string, Tensor> wanted;
  for (const auto &[name, shape] : shapes) {
    const bool diagonal = config.form == PEEPHOLE_DIAGONAL && ends_with(name, ".weight_peephole");
    Tensor tensor;
    tensor.shape = shape;
    auto found = got.find(name);
    if (version >= 2 && shape.size() == 2 && !diagonal && found != got.end()) tensor.number = found->second.number;
    if (tensor.number == Number::kInt8) wanted[name + ".scale"].shape = {shape[0]};
    wanted[name] = std::move(tensor);
  }
  return wanted;
}

void check_tensors(const std::map<std::string, Tensor> &wanted, const std::map<std::string, Tensor> &got) {
  auto text = [](const std::map<std::string, Tensor> &tensors, const std::string &name) {
    auto found = tensors.find(name);
    if (found == tensors.end()) return std::string("None");
    return number_name(found->second.number) + " " + shape_text(found->second.shape);
  };
  auto check = [&](const std::string &name) {
    if (text(wanted, name) != text(got, name))
      throw FileError("tensor " + quoted(name) + ": wanted " + text(wanted, name) + ", got " + text(got, name));
  };
  for (const auto &entry : wanted) check(entry.first);
  for (const auto &entry : got) check(entry.first);
}

// the file

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
  if (found == metadata.end()) damaged("there is no " + key);
  Json tree;
  try {
    tree = read_json(found->second);
  } catch (const FileError &error) {
    damaged(key + ": " + error.what());
  }
  if (tree.object() == nullptr) damaged(key + ": wanted a JSON object, got " + tree.describe());
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
  file.config = read_config(read_table(metadata, "config"));
  file.source = read_symbols(read_table(metadata, "source_symbols"));
  file.target = read_symbols(read_table(metadata, "target_symbols"));
  const Shapes shapes = network_shapes(file.config, int64_t(file.source.names.size()), int64_t(file.target.names.size()));
  check_tensors(wanted_tensors(shapes, file.config, version, file.tensors), file.tensors);
  return file;
}

}  // namespace peephole
