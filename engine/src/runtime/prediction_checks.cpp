// Checks of the arguments of prediction.
#include <cmath>
#include <stdexcept>

#include "runtime/prediction.h"

namespace peephole {

void refuse(const std::string &message) { throw std::invalid_argument(message); }

std::string number(int64_t n) { return std::to_string(n); }

void check_at_least(const char *name, int64_t least, int64_t got) {
  if (got < least) refuse(std::string(name) + ": wanted at least " + number(least) + ", got " + number(got));
}

void check_given(const char *name, const void *address) {
  if (!address) refuse(std::string(name) + ": wanted an address, got NULL");
}

void check_models(const char *name, const peephole_model *const *models, int64_t count) {
  check_at_least(name, 1, count);
  check_given(name, models);
  for (int64_t m = 0; m < count; ++m) check_given(name, models[m]);
}

void check_offsets(const char *name, const int64_t *offsets, int64_t count, int64_t least, const char *items) {
  if (offsets[0] != 0) refuse(std::string(name) + ": wanted offsets from 0, got " + number(offsets[0]));
  for (int64_t b = 0; b < count; ++b)
    if (offsets[b + 1] < offsets[b] || offsets[b + 1] - offsets[b] < least)
      refuse(std::string(name) + " " + number(b) + ": wanted at least " + number(least) + " " + items + ", got " +
             number(offsets[b + 1] - offsets[b]));
}

namespace {

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

// Checks every address of the request that is read.
void check_addresses(const peephole_request &r) {
  check_models("models", r.models, r.num_models);
  check_at_least("guides", 0, r.num_guides);
  if (r.num_guides) {
    check_models("guides", r.guides, r.num_guides);
    check_given("guide_weights", r.guide_weights);
  }
  check_at_least("sources", 0, r.num_sources);
  check_given("source_offsets", r.source_offsets);
  const bool searches = r.kind != PEEPHOLE_FORCE, has_sources = r.num_sources > 0;
  const bool has_steps = r.source_offsets[r.num_sources] > 0;  // else check_offsets refuses empty sources
  const peephole_model &model = *r.models[0];
  if (has_steps && model.frame_size) check_given("frames", r.frames);
  if (has_steps && !model.frame_size) check_given("sources", r.sources);
  if (has_steps && model.copies) check_given("copies", r.copies);
  if (has_sources && searches) check_given("max_lengths", r.max_lengths);
  if (has_sources && r.kind == PEEPHOLE_SAMPLE) check_given("generators", r.generators);
  if (!searches) check_given("target_offsets", r.target_offsets);
  if (r.target_offsets && r.target_offsets[r.num_sources] > 0) check_given("targets", r.targets);
  if (r.kind == PEEPHOLE_BEAM && r.phrase_offsets) {
    check_given("phrase_symbol_offsets", r.phrase_symbol_offsets);
    const int64_t count = r.phrase_offsets[r.num_sources];
    if (count > 0 && r.phrase_symbol_offsets[count] > 0) check_given("phrases", r.phrases);
  }
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
  if (r.frames) refuse("frames: wanted NULL for a model that reads symbols, got an address");
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
  if (r.kind == PEEPHOLE_FORCE) {
    const int64_t size = int64_t(r.models[0]->tables[PEEPHOLE_TARGET].names.size());
    check_at_least("num_alternatives", 0, r.num_alternatives);
    if (r.num_alternatives > size) refuse("num_alternatives: wanted at most " + number(size) + ", got " + number(r.num_alternatives));
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
  }
}

void check_guides(const peephole_request &r) {
  if (r.num_guides && r.models[0]->copies) refuse("guides: wanted none for a model that copies, got " + number(r.num_guides));
  for (int64_t g = 0; g < r.num_guides; ++g) {
    const peephole_model &guide = *r.guides[g];
    if (!guide.is_language_model) refuse("guides: wanted language models, got another model");
    if (guide.tables[PEEPHOLE_TARGET].names != r.models[0]->tables[PEEPHOLE_TARGET].names)
      refuse("guides: wanted the target symbols of the models, got others");
    if (!(r.guide_weights[g] > 0 && r.guide_weights[g] <= 1e9)) refuse("guide_weights: wanted numbers above 0 and up to 1e9");
  }
}

}  // namespace

void check_request(const peephole_request &r) {
  if (r.kind < PEEPHOLE_BEAM || r.kind > PEEPHOLE_FORCE) refuse("kind: wanted 0 to 2, got " + number(r.kind));
  check_at_least("threads", 1, r.threads);
  check_at_least("batch_size", 1, r.batch_size);
  check_addresses(r);
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

}  // namespace peephole
