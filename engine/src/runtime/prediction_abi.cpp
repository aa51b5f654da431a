// The C functions of prediction: check the arguments, then pack or search.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/instruction_sets.h"
#include "file/model_file.h"
#include "predict/forecast.h"
#include "predict/search.h"
#include "predict/trace.h"
#include "runtime/watch.h"

struct peephole_model {
  peephole::SymbolTable tables[2];
  std::unordered_map<std::string, int32_t> ids[2];
  std::unique_ptr<peephole::Network> network;
  const peephole::InstructionSet *instruction_set;
  int64_t frame_size = 0;  // 0: sources are symbols
  peephole::VectorOutput vectors;
  bool copies = false;
  bool has_attention = false;
  bool is_language_model = false;
};

namespace {

// A peephole_result with its memory.
struct Result : peephole_result {
  std::vector<int64_t> all_sources, all_offsets{0}, all_attention_offsets{0};
  std::vector<double> all_log_probs;
  std::vector<int32_t> all_symbols, all_likeliest;
  std::vector<float> all_symbol_log_probs, all_attention;
};

// A peephole_trace with its memory.
struct OwnedTrace : peephole_trace {
  peephole::Trace all;
  std::vector<peephole_array> all_arrays;
};

// Runs body; an exception becomes a message.
template <class Body>
bool succeeds(char *message, size_t message_size, Body body) {
  try {
    body();
    return true;
  } catch (const std::bad_alloc &) {
    std::snprintf(message, message_size, "not enough memory");
  } catch (const std::exception &error) {
    std::snprintf(message, message_size, "%s", error.what());
  }
  return false;
}

[[noreturn]] void refuse(const std::string &message) { throw std::invalid_argument(message); }

std::string number(int64_t n) { return std::to_string(n); }

void check_at_least(const char *name, int64_t least, int64_t got) {
  if (got < least) refuse(std::string(name) + ": wanted at least " + number(least) + ", got " + number(got));
}

// Sequences of at least `least` symbols or frames.
void check_offsets(const char *name, const int64_t *offsets, int64_t count, int64_t least, const char *items) {
  if (offsets[0] != 0) refuse(std::string(name) + ": wanted offsets from 0, got " + number(offsets[0]));
  for (int64_t b = 0; b < count; ++b)
    if (offsets[b + 1] < offsets[b] || offsets[b + 1] - offsets[b] < least)
      refuse(std::string(name) + " " + number(b) + ": wanted at least " + number(least) + " " + items + ", got " +
             number(offsets[b + 1] - offsets[b]));
}

// Each symbol of sequence b is in [0, size).
void check_symbols(const char *name, const int32_t *symbols, const int64_t *offsets, int64_t b, int64_t size) {
  for (int64_t i = offsets[b]; i < offsets[b + 1]; ++i)
    if (symbols[i] < 0 || symbols[i] >= size)
      refuse(std::string(name) + " " + number(b) + ": wanted symbols from 0 and below " + number(size) + ", got " +
             number(symbols[i]));
}

// Sequences of at least `least` symbols, each in [0, size).
void check_sequences(const char *name, const int32_t *symbols, const int64_t *offsets, int64_t count, int64_t least,
                     int64_t size) {
  check_offsets(name, offsets, count, least, "symbols");
  for (int64_t b = 0; b < count; ++b) check_symbols(name, symbols, offsets, b, size);
}

// Checks the copies of source b, and returns the number of target symbols and of other texts in the source together.
int64_t check_copies(const peephole_request &r, int64_t b, int64_t size) {
  if (!r.models[0]->copies) return size;
  int64_t next = size;
  for (int64_t i = r.source_offsets[b]; i < r.source_offsets[b + 1]; ++i) {
    if (r.copies[i] <= PEEPHOLE_UNK || r.copies[i] > next)
      refuse("copies of source " + number(b) + ": wanted ordinary target symbols, and other texts numbered from " + number(size) +
             " in the order in which they first appear; got " + number(r.copies[i]) + " where " + number(next) +
             " is the next number");
    next += r.copies[i] == next;
  }
  return next;
}

void check_targets(const peephole_request &r, int64_t num_symbols) {
  bool given = r.kind == PEEPHOLE_FORCE;
  if (!r.target_offsets && given) refuse("targets: wanted one for each source, got none");
  if (!r.target_offsets) return;
  check_offsets("target", r.target_offsets, r.num_sources, 0, "symbols");
  for (int64_t b = 0; b < r.num_sources; ++b) {
    check_symbols("target", r.targets, r.target_offsets, b, check_copies(r, b, num_symbols));
    int64_t length = r.target_offsets[b + 1] - r.target_offsets[b];
    if (!given && length >= r.max_lengths[b])
      refuse("target " + number(b) + ": wanted a beginning of fewer than " + number(r.max_lengths[b]) + " symbols, got " +
             number(length));
    for (int64_t i = r.target_offsets[b]; i < r.target_offsets[b + 1]; ++i)
      if (r.targets[i] == PEEPHOLE_EOS || (!given && r.targets[i] < PEEPHOLE_UNK))
        refuse("target " + number(b) + ": wanted no special symbols, got " + number(r.targets[i]));
  }
}

void check_sources(const peephole_request &r) {
  const peephole_model &model = *r.models[0];
  check_offsets("source", r.source_offsets, r.num_sources, 1, "symbols");
  if (model.copies && r.num_sources && !r.copies) refuse("copies: wanted a target symbol for each source symbol, got none");
  for (int64_t b = 0; b < r.num_sources; ++b) {
    check_symbols("source", r.sources, r.source_offsets, b, int64_t(model.tables[PEEPHOLE_SOURCE].names.size()));
    check_copies(r, b, int64_t(model.tables[PEEPHOLE_TARGET].names.size()));
  }
}

// So large that no sum of scores overflows.
void check_weight(const char *name, double got) {
  if (!(got >= 0 && got <= 1e9)) refuse(std::string(name) + ": wanted a number from 0 to 1e9");
}

void check_phrases(const peephole_request &r, int64_t size) {
  if (!r.phrase_offsets) return;
  if (r.diverse_groups > 1) refuse("phrases: wanted one group of hypotheses, got " + number(r.diverse_groups));
  check_offsets("phrases of source", r.phrase_offsets, r.num_sources, 0, "phrases");
  check_sequences("phrase", r.phrases, r.phrase_symbol_offsets, r.phrase_offsets[r.num_sources], 1, size);
  for (int64_t b = 0; b < r.num_sources; ++b) {
    const int64_t first = r.phrase_symbol_offsets[r.phrase_offsets[b]], end = r.phrase_symbol_offsets[r.phrase_offsets[b + 1]];
    for (int64_t i = first; i < end; ++i)
      if (r.phrases[i] <= PEEPHOLE_UNK) refuse("phrases of source " + number(b) + ": wanted no special symbols, got " + number(r.phrases[i]));
    const int64_t begun = r.target_offsets ? r.target_offsets[b + 1] - r.target_offsets[b] : 0;
    if (end - first > r.max_lengths[b] - begun)
      refuse("phrases of source " + number(b) + ": wanted at most " + number(r.max_lengths[b] - begun) + " symbols in all, got " +
             number(end - first));
  }
}

void check_search(const peephole_request &r) {
  if (!(r.ctc_weight >= 0 && r.ctc_weight <= 1)) refuse("ctc_weight: wanted a number from 0 to 1");
  if (r.kind != PEEPHOLE_FORCE) {
    check_at_least("nbest", 1, r.nbest);
    check_at_least("min_length", 0, r.min_length);
    check_at_least("no_repeat_ngram", 0, r.no_repeat_ngram);
  }
  if (r.kind == PEEPHOLE_BEAM) {
    check_at_least("beam_size", 1, r.beam_size);
    if (r.nbest > r.beam_size)
      refuse("nbest: wanted at most beam_size = " + number(r.beam_size) + ", got " + number(r.nbest));
    if (!(r.length_penalty >= 0 && std::isfinite(r.length_penalty))) refuse("length_penalty: wanted a number from 0");
    check_weight("length_reward", r.length_reward);
    check_weight("coverage_penalty", r.coverage_penalty);
    check_weight("diversity", r.diversity);
    check_at_least("diverse_groups", 0, r.diverse_groups);
    if (r.diverse_groups > 1 && r.beam_size % r.diverse_groups)
      refuse("diverse_groups: wanted a divisor of beam_size = " + number(r.beam_size) + ", got " + number(r.diverse_groups));
    check_phrases(r, int64_t(r.models[0]->tables[PEEPHOLE_TARGET].names.size()));
  }
  if (r.kind == PEEPHOLE_SAMPLE) {
    if (!(r.temperature > 0 && std::isfinite(r.temperature))) refuse("temperature: wanted a number above 0");
    if (!(r.top_p > 0 && r.top_p <= 1)) refuse("top_p: wanted a number above 0 and at most 1");
    check_at_least("top_k", 0, r.top_k);
    if (r.num_sources && !r.generators) refuse("generators: wanted one for each source, got none");
  }
}

void check_guides(const peephole_request &r) {
  check_at_least("guides", 0, r.num_guides);
  if (r.num_guides && r.models[0]->copies) refuse("guides: wanted none for a model that copies, got " + number(r.num_guides));
  for (int64_t g = 0; g < r.num_guides; ++g) {
    const peephole_model &guide = *r.guides[g];
    if (!guide.is_language_model) refuse("guides: wanted language models, got another model");
    if (guide.tables[PEEPHOLE_TARGET].names != r.models[0]->tables[PEEPHOLE_TARGET].names)
      refuse("guides: wanted the target symbols of the models, got others");
    if (!(r.guide_weights[g] > 0 && r.guide_weights[g] <= 1e9)) refuse("guide_weights: wanted numbers above 0 and up to 1e9");
  }
}

void check(const peephole_request &r) {
  if (r.kind < PEEPHOLE_BEAM || r.kind > PEEPHOLE_FORCE) refuse("kind: wanted 0 to 2, got " + number(r.kind));
  check_at_least("threads", 1, r.threads);
  check_at_least("models", 1, r.num_models);
  check_at_least("sources", 0, r.num_sources);
  check_at_least("batch_size", 1, r.batch_size);
  for (int64_t m = 0; m < r.num_models; ++m)
    if (r.models[m]->vectors.size) refuse("models: wanted targets of symbols, got vectors; peephole_draw draws them");
  const auto &tables = r.models[0]->tables;
  for (int64_t m = 1; m < r.num_models; ++m)
    for (int side = 0; side < 2; ++side)
      if (r.models[m]->tables[side].names != tables[side].names) refuse("models: wanted the same symbols in all, got others");
  check_guides(r);
  for (int64_t m = 1; m < r.num_models; ++m)
    if (r.models[m]->frame_size != r.models[0]->frame_size)
      refuse("models: wanted frames of " + number(r.models[0]->frame_size) + " numbers in all, got " +
             number(r.models[m]->frame_size));
  for (int64_t m = 1; m < r.num_models; ++m)
    if (r.models[m]->copies != r.models[0]->copies) refuse("models: wanted models that all copy, or none, got both");
  if (r.models[0]->frame_size)
    check_offsets("source", r.source_offsets, r.num_sources, 1, "frames");
  else
    check_sources(r);
  for (int64_t b = 0; r.kind != PEEPHOLE_FORCE && b < r.num_sources; ++b)
    check_at_least("max_lengths", 1, r.max_lengths[b]);
  check_targets(r, int64_t(tables[PEEPHOLE_TARGET].names.size()));
  check_search(r);
}

// Returns the weights of the bent step, of sum 1; none if no step is bent.
std::vector<float> check_trace(const peephole_trace_request &r) {
  check_at_least("top", 1, r.top);
  const peephole_request &request = *r.request;
  if (request.kind != PEEPHOLE_BEAM && request.kind != PEEPHOLE_FORCE) refuse("kind: wanted a beam search or a given target");
  if (request.num_models != 1) refuse("models: wanted one model, got " + number(request.num_models));
  if (request.num_sources != 1) refuse("sources: wanted one, got " + number(request.num_sources));
  if (request.num_guides) refuse("guides: wanted none, got " + number(request.num_guides));
  check(request);
  const peephole_model &model = *request.models[0];
  if (model.is_language_model) refuse("models: wanted a model with a source, got a language model");
  std::vector<float> weights;
  if (r.bent_step < 0) return weights;
  if (!model.has_attention) refuse("bent_weights: wanted a model with attention");
  if (!r.bent_weights) refuse("bent_weights: wanted a weight for each place of the source, got none");
  const int64_t places = model.network->places(request.source_offsets[1]);
  double sum = 0;
  for (int64_t j = 0; j < places; ++j) {
    if (!(r.bent_weights[j] >= 0 && std::isfinite(r.bent_weights[j]))) refuse("bent_weights: wanted numbers from 0");
    sum += double(r.bent_weights[j]);
  }
  if (!(sum > 0)) refuse("bent_weights: wanted a weight above 0, got none");
  for (int64_t j = 0; j < places; ++j) weights.push_back(float(double(r.bent_weights[j]) / sum));
  return weights;
}

void show(OwnedTrace &t) {
  t.num_symbols = int64_t(t.all.symbols.size());
  t.symbols = t.all.symbols.data();
  t.log_probs = t.all.log_probs.data();
  t.ranks = t.all.ranks.data();
  t.num_alternatives = int64_t(t.all.top_symbols.size()) / t.num_symbols;
  t.top_symbols = t.all.top_symbols.data();
  t.top_log_probs = t.all.top_log_probs.data();
  for (const peephole::TracedArray &array : t.all.arrays) {
    peephole_array shown{array.name.c_str(), int64_t(array.shape.size()), {1, 1, 1}, array.numbers.data()};
    for (size_t i = 0; i < array.shape.size(); ++i) shown.shape[i] = array.shape[i];
    t.all_arrays.push_back(shown);
  }
  t.num_arrays = int64_t(t.all_arrays.size());
  t.arrays = t.all_arrays.data();
  const peephole::TracedBeam &beam = t.all.beam;
  t.num_nodes = int64_t(beam.parents.size());
  t.parents = beam.parents.data();
  t.steps = beam.steps.data();
  t.node_symbols = beam.symbols.data();
  t.node_log_probs = beam.log_probs.data();
  t.scores = beam.scores.data();
  t.groups = beam.groups.data();
  t.fates = beam.fates.data();
}

// What a search of a request's models needs.
peephole::Searcher make_searcher(const peephole_request &r) {
  const peephole_model &first = *r.models[0];
  peephole::Searcher searcher{{}, {}, r.kind == PEEPHOLE_FORCE ? 0 : r.ctc_weight, first.instruction_set->float_kernels.largest,
                              peephole_model_num_symbols(&first, PEEPHOLE_TARGET), first.frame_size, first.copies};
  for (int64_t m = 0; m < r.num_models; ++m) searcher.networks.push_back(r.models[m]->network.get());
  for (int64_t g = 0; g < r.num_guides; ++g) searcher.guides.push_back({r.guides[g]->network.get(), r.guide_weights[g]});
  return searcher;
}

void gather(const std::vector<std::vector<peephole::Found>> &all, Result &r) {
  bool has_attention = false;
  for (size_t source = 0; source < all.size(); ++source)
    for (const peephole::Found &found : all[source]) {
      has_attention |= found.has_attention;
      r.all_sources.push_back(int64_t(source));
      r.all_log_probs.push_back(found.log_prob);
      r.all_symbols.insert(r.all_symbols.end(), found.symbols.begin(), found.symbols.end());
      r.all_likeliest.insert(r.all_likeliest.end(), found.likeliest.begin(), found.likeliest.end());
      r.all_symbol_log_probs.insert(r.all_symbol_log_probs.end(), found.log_probs.begin(), found.log_probs.end());
      r.all_attention.insert(r.all_attention.end(), found.attention.begin(), found.attention.end());
      r.all_offsets.push_back(int64_t(r.all_symbols.size()));
      r.all_attention_offsets.push_back(int64_t(r.all_attention.size()));
    }
  r.num_targets = int64_t(r.all_sources.size());
  r.source = r.all_sources.data();
  r.log_probs = r.all_log_probs.data();
  r.offsets = r.all_offsets.data();
  r.symbols = r.all_symbols.data();
  r.symbol_log_probs = r.all_symbol_log_probs.data();
  r.likeliest = r.all_likeliest.empty() ? nullptr : r.all_likeliest.data();
  r.attention_offsets = r.all_attention_offsets.data();
  r.all_attention.reserve(1);  // if all targets are empty, still not NULL, which means no attention
  r.attention = has_attention ? r.all_attention.data() : nullptr;
}

}  // namespace

peephole_model *peephole_model_open(const void *file, size_t size, const char *instruction_set, char *message,
                                    size_t message_size) {
  auto model = std::unique_ptr<peephole_model>();
  bool opened = succeeds(message, message_size, [&] {
    model = std::make_unique<peephole_model>();
    model->instruction_set =
        instruction_set ? peephole::instruction_set_named(instruction_set) : peephole::instruction_set_at(0);
    if (!model->instruction_set)
      refuse("instruction set " + std::string(instruction_set) + ": there is none, or it cannot run here");
    peephole::ModelFile read = peephole::read_model_file(file, size);
    model->network.reset(model->instruction_set->pack(read.network()));
    model->vectors = peephole::read_vector_output(read.network());
    model->copies = read.network().copies;
    model->has_attention = read.network().context == peephole::Context::kAttention;
    model->frame_size = read.network().input_size;
    model->is_language_model = read.architecture.input == peephole::Input::kNone;
    model->tables[PEEPHOLE_SOURCE] = std::move(read.source);
    model->tables[PEEPHOLE_TARGET] = std::move(read.target);
    for (int side = 0; side < 2; ++side)
      for (size_t symbol = PEEPHOLE_UNK + 1; symbol < model->tables[side].names.size(); ++symbol)
        model->ids[side].emplace(model->tables[side].names[symbol], int32_t(symbol));
  });
  return opened ? model.release() : nullptr;
}

void peephole_model_close(peephole_model *model) { delete model; }

int64_t peephole_model_frame_size(const peephole_model *model) { return model->frame_size; }

int64_t peephole_model_vector_size(const peephole_model *model) { return model->vectors.size; }

int32_t peephole_model_copies(const peephole_model *model) { return model->copies; }

int64_t peephole_model_places(const peephole_model *model, int64_t length) { return model->network->places(length); }

int64_t peephole_model_num_symbols(const peephole_model *model, int32_t side) {
  return int64_t(model->tables[side].names.size());
}

const char *peephole_model_symbol_text(const peephole_model *model, int32_t side, int64_t symbol) {
  const auto &names = model->tables[side].names;
  return symbol >= 0 && symbol < int64_t(names.size()) ? names[size_t(symbol)].c_str() : nullptr;
}

int32_t peephole_model_find_symbol(const peephole_model *model, int32_t side, const char *text, size_t size) {
  auto found = model->ids[side].find(std::string(text, size));
  return found == model->ids[side].end() ? PEEPHOLE_UNK : found->second;
}

peephole_status peephole_search(const peephole_request *request, peephole_result **result, char *message, size_t message_size) {
  bool stopped = false;
  const bool found = succeeds(message, message_size, [&] {
    check(*request);
    const peephole::Searcher searcher = make_searcher(*request);
    auto gathered = std::make_unique<Result>();
    try {
      gather(peephole::search(searcher, *request), *gathered);
      *result = gathered.release();
    } catch (const peephole::Stopped &) {
      stopped = true;
    }
  });
  if (stopped) std::snprintf(message, message_size, "stopped by the caller");
  return stopped ? PEEPHOLE_STOPPED : found ? PEEPHOLE_OK : PEEPHOLE_REFUSED;
}

peephole_status peephole_trace_make(const peephole_trace_request *request, peephole_trace **trace, char *message,
                                    size_t message_size) {
  bool stopped = false;
  const bool made = succeeds(message, message_size, [&] {
    const std::vector<float> bent = check_trace(*request);
    auto owned = std::make_unique<OwnedTrace>();
    peephole::Watch watch(request->request->should_stop, request->request->should_stop_context);
    try {
      peephole::Watched watched(watch, true);
      owned->all = peephole::make_trace(make_searcher(*request->request), *request, bent);
    } catch (const peephole::Stopped &) {
      stopped = true;
      return;
    }
    show(*owned);
    *trace = owned.release();
  });
  if (stopped) std::snprintf(message, message_size, "stopped by the caller");
  return stopped ? PEEPHOLE_STOPPED : made ? PEEPHOLE_OK : PEEPHOLE_REFUSED;
}

void peephole_trace_release(peephole_trace *trace) { delete static_cast<OwnedTrace *>(trace); }

peephole_status peephole_draw(const peephole_model *model, const peephole_forecast *request, char *message,
                              size_t message_size) {
  bool stopped = false;
  const bool drawn = succeeds(message, message_size, [&] {
    if (!model->vectors.size) refuse("model: wanted targets of vectors, got symbols; peephole_search finds them");
    check_at_least("threads", 1, request->threads);
    check_at_least("sources", 0, request->num_sources);
    check_at_least("samples", 1, request->num_samples);
    check_at_least("steps", 1, request->num_steps);
    check_at_least("batch_size", 1, request->batch_size);
    check_offsets("source", request->source_offsets, request->num_sources, 1, "frames");
    try {
      peephole::forecast(*model->network, model->vectors, model->frame_size, *request);
    } catch (const peephole::Stopped &) {
      stopped = true;
    }
  });
  if (stopped) std::snprintf(message, message_size, "stopped by the caller");
  return stopped ? PEEPHOLE_STOPPED : drawn ? PEEPHOLE_OK : PEEPHOLE_REFUSED;
}

void peephole_result_release(peephole_result *result) { delete static_cast<Result *>(result); }
