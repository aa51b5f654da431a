#include "file/architecture.h"

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace peephole {

namespace {

// As in src/peephole/sections.py.
constexpr int64_t kLargestSize = 1 << 16, kMostNgramRows = 1 << 20, kMostLayers = 64, kMostChannels = 256, kLargestWidth = 2001;
constexpr double kMostZoneout = 0.95;
constexpr int64_t kMostHeads = 256, kMostConvolutions = 8, kMostJoined = 64, kMostPlanes = 16, kMostQuantiles = 999;

[[noreturn]] void fail(const std::string &what) { throw FileError(what); }

// The values of one JSON object; `where` begins error messages. In old files the text "none" also means null.
class Section {
 public:
  Section(const Json *values, std::string where, bool none_is_null)
      : values_(values), where_(std::move(where)), none_is_null_(none_is_null) {}

  void check_keys(const std::set<std::string> &known) const {
    if (values_ == nullptr) return;
    for (const auto &member : *values_->object())
      if (!known.count(member.name)) fail(where_ + ": unknown key " + quoted(member.name));
  }

  void read(const char *key, bool &setting) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    if (value->boolean() == nullptr) refuse(key, "bool", *value);
    setting = *value->boolean();
  }

  void read(const char *key, int64_t &setting, int64_t high, int64_t low = 1) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    const double *number = value->number();
    if (number == nullptr || std::floor(*number) != *number) refuse(key, "int", *value);
    if (*number < double(low) || *number > double(high))
      refuse(key, "a number from " + std::to_string(low) + " to " + std::to_string(high), *value);
    setting = int64_t(*number);
  }

  // A number from 0 to `high`.
  void read(const char *key, double &setting, double high) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    const double *number = value->number();
    if (number == nullptr) refuse(key, "float", *value);
    if (!(*number >= 0 && *number <= high)) refuse(key, "a number from 0 to " + std::to_string(high), *value);
    setting = *number;
  }

  bool is_missing_or_null(const char *key) const {
    const Json *value = find(key);
    if (value == nullptr || value->is_null()) return true;
    return none_is_null_ && value->text() != nullptr && *value->text() == "none";
  }

  // The setting becomes the index of the value among the choices.
  template <typename Setting>
  void read(const char *key, Setting &setting, const std::vector<std::string> &choices) const {
    const Json *value = find(key);
    if (value == nullptr) return;
    std::string wanted;
    for (size_t index = 0; index < choices.size(); ++index) {
      if (value->text() != nullptr && *value->text() == choices[index]) {
        setting = Setting(index);
        return;
      }
      wanted += (index ? "|" : "") + choices[index];
    }
    refuse(key, wanted, *value);
  }

 private:
  const Json *find(const char *key) const { return values_ == nullptr ? nullptr : values_->find(key); }

  [[noreturn]] void refuse(const char *key, const std::string &wanted, const Json &got) const {
    fail(where_ + "." + key + ": wanted " + wanted + ", got " + got.describe());
  }

  const Json *values_;  // NULL: no key is given
  std::string where_;
  bool none_is_null_;
};

void read_kinds_and_sizes(const Section &section, Architecture &architecture) {
  section.read("input", architecture.input, {"symbols", "frames", "convolution", "none"});
  section.read("output", architecture.output, {"symbols", "copy", "gaussian", "quantile"});
  if (!section.is_missing_or_null("output_size")) section.read("output_size", architecture.output_size, kLargestSize);
  section.read("quantiles", architecture.quantiles, kMostQuantiles, 2);
  section.read("scaling", architecture.constant_units, {"source", "constant"});
  section.read("continues", architecture.continues);
  section.read("feedback", architecture.feedback);
  if (!section.is_missing_or_null("input_size")) section.read("input_size", architecture.input_size, kLargestSize);
  section.read("input_planes", architecture.input_planes, kMostPlanes);
  section.read("frame_stack", architecture.frame_stack, kMostJoined);
  section.read("convolution_layers", architecture.convolution_layers, kMostConvolutions);
  section.read("convolution_channels", architecture.convolution_channels, kLargestSize);
  section.read("ctc", architecture.ctc);
  section.read("encoder_pyramid", architecture.encoder_pyramid, kMostConvolutions, 0);
  section.read("cell", architecture.gru, {"lstm", "gru"});
  section.read("peephole", architecture.form, {"none", "diagonal", "full"});  // as enum peephole_form
  section.read("hidden_size", architecture.hidden_size, kLargestSize);
  architecture.encoder_size = architecture.hidden_size;
  if (!section.is_missing_or_null("encoder_size"))
    section.read("encoder_size", architecture.encoder_size, kLargestSize);
  section.read("embedding_size", architecture.embedding_size, kLargestSize);
  section.read("ngram_rows", architecture.ngram_rows, kMostNgramRows, 0);
  section.read("encoder_layers", architecture.encoder_layers, kMostLayers);
  section.read("decoder_layers", architecture.decoder_layers, kMostLayers);
  section.read("residual", architecture.residual);
  section.read("layer_norm", architecture.layer_norm);
  section.read("zoneout_hidden", architecture.zoneout_hidden, kMostZoneout);
  section.read("zoneout_cell", architecture.zoneout_cell, kMostZoneout);
  section.read("input_feeding", architecture.input_feeding);
  section.read("bidirectional", architecture.bidirectional);
  section.read("context", architecture.context, {"attention", "last", "mean"});
  section.read("attention", architecture.attention,
               {"additive", "dot", "general", "location", "coverage", "multihead"});
  section.read("location_channels", architecture.location_channels, kMostChannels);
  section.read("location_width", architecture.location_width, kLargestWidth);
  section.read("attention_heads", architecture.attention_heads, kMostHeads);
  section.read("attention_symbol", architecture.attention_symbol);
}

void check_attention(const Architecture &a, const std::string &where) {
  if (a.attention == Alignment::kDot && a.encoder_size != a.hidden_size)
    fail(where + ".attention='dot' compares states of one size: wanted encoder_size = hidden_size = " +
         std::to_string(a.hidden_size) + ", got " + std::to_string(a.encoder_size));
  if (a.attention == Alignment::kLocation && a.location_width % 2 == 0)
    fail(where + ".location_width: wanted an odd number, so that a filter has a centre; got " +
         std::to_string(a.location_width));
  if (a.attention == Alignment::kMultihead &&
      (a.hidden_size % a.attention_heads || a.encoder_size % a.attention_heads))
    fail(where + ".attention_heads: wanted a divisor of hidden_size = " + std::to_string(a.hidden_size) +
         " and encoder_size = " + std::to_string(a.encoder_size) + ", got " + std::to_string(a.attention_heads));
}

void check_vectors(const Architecture &a, const std::string &where) {
  if (a.input == Input::kSymbols || a.input == Input::kNone)
    fail(where + ".input: wanted frames for an output of vectors, got none");
  if (a.ctc) fail(where + ".ctc: wanted false for an output of vectors");
  if (a.output_size == 0) fail(where + ".output_size: wanted the numbers in a vector, got none");
  if (!a.continues && !a.constant_units) fail(where + ".continues: wanted true for scaling='source'");
  if (a.continues && a.output_size > a.input_size)
    fail(where + ".continues: wanted output_size at most input_size = " + std::to_string(a.input_size) + ", got " +
         std::to_string(a.output_size));
}

void check_combinations(const Architecture &a, const std::string &where) {
  if (a.gru && a.form != PEEPHOLE_NONE)
    fail(where + ".cell='gru' has no cell state, so it has no peepholes: wanted " + where + ".peephole='none'");
  if (a.gru && a.zoneout_cell != 0)
    fail(where + ".cell='gru' has no cell state: wanted " + where + ".zoneout_cell=0, got " +
         std::to_string(a.zoneout_cell));
  if (a.ngram_rows && a.input != Input::kSymbols)
    fail(where + ".ngram_rows: wanted 0 for a source without symbols, got " + std::to_string(a.ngram_rows));
  if (a.bidirectional && a.encoder_size % 2)
    fail(where + ".encoder_size: wanted an even number, half of it for each direction; got " +
         std::to_string(a.encoder_size));
  if (a.encoder_pyramid >= a.encoder_layers)
    fail(where + ".encoder_pyramid: wanted fewer than encoder_layers = " + std::to_string(a.encoder_layers) + ", got " +
         std::to_string(a.encoder_pyramid));
  if ((a.input == Input::kFrames || a.input == Input::kConvolution) && a.input_size == 0)
    fail(where + ".input_size: wanted the numbers in a frame, got none");
  if (a.input_size % a.input_planes)
    fail(where + ".input_planes: wanted a divisor of input_size = " + std::to_string(a.input_size) + ", got " +
         std::to_string(a.input_planes));
  if (a.input == Input::kNone && a.ctc) fail(where + ".ctc: wanted a model with sources, got input='none'");
  if (a.context == Context::kAttention) check_attention(a, where);
  const bool attends = a.context == Context::kAttention && a.input != Input::kNone;
  const char *products = a.attention == Alignment::kDot ? "dot" : a.attention == Alignment::kGeneral ? "general" : nullptr;
  if (a.attention_symbol && (!attends || products))
    fail(where + ".attention_symbol: wanted attention=additive|location|coverage|multihead with it, got " +
         (attends ? products : "no attention"));
  if (is_vectors(a.output)) check_vectors(a, where);
  if (a.output == Output::kCopy && (a.input != Input::kSymbols || a.context != Context::kAttention || a.encoder_pyramid || a.ctc))
    fail(where + ".output='copy' copies the symbols that attention chooses: wanted input='symbols', "
                 "context='attention', encoder_pyramid=0 and ctc=false");
}

const std::set<std::string> kKeys = {"input",          "output",        "cell",           "peephole",
                                     "hidden_size",    "encoder_size",  "embedding_size", "encoder_layers",
                                     "decoder_layers", "bidirectional", "context",        "attention",
                                     "location_channels", "location_width", "attention_heads",
                                     "input_size", "input_planes", "frame_stack", "convolution_layers", "convolution_channels",
                                     "output_size", "quantiles", "scaling", "continues", "feedback",
                                     "encoder_pyramid", "ctc", "residual", "layer_norm", "zoneout_hidden",
                                     "zoneout_cell", "input_feeding", "ngram_rows", "attention_symbol"};

std::set<std::string> keys_and(std::set<std::string> more) {
  more.insert(kKeys.begin(), kKeys.end());
  return more;
}

}  // namespace

Architecture read_architecture(const Json &tree) {
  const std::string where = "architecture";
  const Section section(&tree, where, false);
  section.check_keys(kKeys);
  Architecture architecture;
  read_kinds_and_sizes(section, architecture);
  check_combinations(architecture, where);
  return architecture;
}

Architecture read_config(const Json &tree) {
  const Json *values = tree.find("model");
  if (values != nullptr && values->object() == nullptr)
    fail("config, model: wanted a table of keys, got " + values->describe());
  const Section section(values, "config, model", true);
  section.check_keys(keys_and({"dropout", "forget_bias", "embedding_std", "initial_range"}));
  Architecture architecture;
  read_kinds_and_sizes(section, architecture);
  check_combinations(architecture, "model");
  return architecture;
}

}  // namespace peephole
