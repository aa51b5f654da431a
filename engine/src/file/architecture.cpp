#include "file/architecture.h"

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace peephole {

namespace {

constexpr int64_t kLargestSize = 1 << 16, kMostLayers = 64;  // as in src/peephole/config.py

[[noreturn]] void fail(const std::string &what) { throw FileError(what); }

// The settings of one section; `where` begins errors.
class Section {
 public:
  Section(const Json *values, std::string where) : values_(values), where_(std::move(where)) {}

  void check_names(const std::set<std::string> &known) const {
    for (const auto &member : *values_->object())
      if (!known.count(member.name)) fail(where_ + ": unknown key " + quoted(member.name));
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
    fail(where_ + "." + key + ": wanted " + wanted + ", got " + got.describe());
  }

  const Json *values_;  // null: all settings are the defaults
  std::string where_;
};

void check_config(const ModelConfig &config) {
  if (config.gru && config.form != PEEPHOLE_NONE)
    fail("model.cell='gru' has no cell state to look at: set model.peephole='none'");
  if (config.bidirectional && config.encoder_size % 2)
    fail("model.encoder_size: wanted an even number, half of it for each direction; got " +
            std::to_string(config.encoder_size));
  if (config.context == Context::kAttention && config.attention == Alignment::kDot &&
      config.encoder_size != config.hidden_size)
    fail("model.attention='dot' compares states of one size: wanted encoder_size = hidden_size = " +
            std::to_string(config.hidden_size) + ", got " + std::to_string(config.encoder_size));
}

}  // namespace

ModelConfig read_config(const Json &tree) {
  const Json *values = tree.find("model");
  const Section model(values, "config, model");
  if (values != nullptr) {
    if (values->object() == nullptr) fail("config, model: wanted a table of keys, got " + values->describe());
    model.check_names({"cell", "peephole", "hidden_size", "encoder_size", "embedding_size", "encoder_layers",
                       "decoder_layers", "bidirectional", "context", "attention", "dropout", "forget_bias",
                       "embedding_std"});
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

}  // namespace peephole
