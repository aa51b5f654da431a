// Opens damaged model files and searches with those that open; built with sanitizers:
//
//     fuzz_models ITERATIONS SEED FILE…
//
// Each input is a file with a few changes, which the seed determines. Most changes keep the size of the header right and
// remove the checksum or correct it, so that the checks behind them run. Requests are valid and invalid.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "file/model_file.h"
#include "peephole.h"

// AddressSanitizer spends most of the time on records of allocations; short ones suffice.
extern "C" const char *__asan_default_options() { return "malloc_context_size=3:quarantine_size_mb=4"; }

namespace {

void check_message(const char *message) {
  if (message[0] == '\0' || std::strchr(message, '\n')) std::abort();  // errors are one line
}

// A search for a few sources; some of its numbers are invalid.
class Request {
 public:
  Request(const peephole_model *model, std::mt19937_64 &random) : random_(random), model_(model) {
    int64_t sources = below(5), symbols = peephole_model_num_symbols(model, PEEPHOLE_SOURCE);
    for (int64_t b = 0; b < sources; ++b) {
      int64_t num_targets = peephole_model_num_symbols(model, PEEPHOLE_TARGET);
      const int64_t vocabulary = num_targets;
      for (int64_t i = one_in(50) ? 0 : 1 + below(8); i > 0; --i) {
        sources_.push_back(symbol(symbols));
        const int64_t copy = PEEPHOLE_UNK + 1 + below(num_targets - PEEPHOLE_UNK);  // num_targets: a new text
        copies_.push_back(int32_t(one_in(100) ? below(num_targets + 3) - 1 : copy));
        if (peephole_model_copies(model)) num_targets += copies_.back() == num_targets;
      }
      most_.push_back(num_targets - vocabulary);
      source_offsets_.push_back(int64_t(sources_.size()));
      for (int64_t i = below(4); i > 0; --i) targets_.push_back(symbol(num_targets));
      target_offsets_.push_back(int64_t(targets_.size()));
      max_lengths_.push_back(one_in(50) ? below(3) - 1 : 4 + below(8));
    }
    for (int64_t i = 0; i < 4 * sources; ++i) generators_.push_back(random_());
    r_.kind = int32_t(below(one_in(50) ? 5 : 3)) - (one_in(100) ? 1 : 0);
    r_.threads = one_in(100) ? int32_t(below(2)) - 1 : 1 + int32_t(below(2));
    r_.with_attention = int32_t(below(2));
    r_.num_models = 1 + int64_t(one_in(4));
    r_.num_sources = sources;
    r_.batch_size = one_in(100) ? below(2) - 1 : 1 + below(4);
    r_.beam_size = one_in(50) ? below(3) - 1 : 1 + below(6);
    r_.nbest = one_in(20) ? below(8) - 1 : 1 + below(std::max<int64_t>(1, r_.beam_size));
    r_.length_penalty = one_in(50) ? NAN : double(below(3));
    r_.temperature = one_in(50) ? -1 : 0.5 + double(below(3));
    r_.top_p = one_in(50) ? 1.5 : one_in(2) ? 1 : 0.7;
    r_.top_k = one_in(50) ? -1 : below(4);
    constrain(sources);
  }

  void run() {
    point();
    r_.should_stop = one_in(4) ? nullptr : stops_at_third_call;
    r_.should_stop_context = &calls_;
    peephole_result *result = nullptr;
    char message[200] = "";
    if (const peephole_status status = peephole_search(&r_, &result, message, sizeof message)) {
      if ((status == PEEPHOLE_STOPPED) != (calls_ == 3)) std::abort();
      return check_message(message);
    }
    if (calls_ > 2) std::abort();
    read(*result);
    peephole_result_release(result);
  }

  // Adds the first source to a session of `num_models` models; returns whether it was accepted.
  bool join(peephole_session *session, int64_t num_models, int64_t ticket) {
    point();
    r_.num_models = one_in(50) ? 3 - num_models : num_models;
    r_.num_guides = one_in(10);
    r_.num_sources = std::min<int64_t>(r_.num_sources, one_in(50) ? 2 : 1);
    char message[200] = "";
    if (!peephole_session_add(session, ticket, &r_, message, sizeof message)) return true;
    check_message(message);
    return false;
  }

 private:
  void point() {
    r_.models = models_;
    r_.source_offsets = source_offsets_.data();
    r_.sources = sources_.data();
    r_.copies = one_in(100) ? nullptr : copies_.data();
    r_.max_lengths = max_lengths_.data();
    r_.target_offsets = r_.kind != PEEPHOLE_FORCE && one_in(2) ? nullptr : target_offsets_.data();
    r_.targets = targets_.data();
    r_.generators = generators_.data();
    r_.guides = models_;
    r_.guide_weights = guide_weights_;
    r_.phrase_offsets = one_in(2) ? nullptr : phrase_offsets_.data();
    r_.phrase_symbol_offsets = phrase_symbol_offsets_.data();
    r_.phrases = phrases_.data();
    if (one_in(30)) drop(below(12));
  }

  // Makes one of the addresses NULL.
  void drop(int64_t which) {
    switch (which) {
      case 0: r_.models = nullptr; break;
      case 1: r_.source_offsets = nullptr; break;
      case 2: r_.sources = nullptr; break;
      case 3: r_.copies = nullptr; break;
      case 4: r_.max_lengths = nullptr; break;
      case 5: r_.target_offsets = nullptr; break;
      case 6: r_.targets = nullptr; break;
      case 7: r_.generators = nullptr; break;
      case 8: r_.guides = nullptr; break;
      case 9: r_.guide_weights = nullptr; break;
      case 10: r_.phrase_symbol_offsets = nullptr; break;
      default: r_.phrases = nullptr;
    }
  }

  void read(const peephole_result &result) const {
    volatile double total = 0;  // reads the whole result
    for (int64_t n = 0; n < result.num_targets; ++n) {
      total = total + result.log_probs[n];
      for (int64_t i = result.offsets[n]; i < result.offsets[n + 1]; ++i) {
        total = total + double(result.symbol_log_probs[i]);
        const int64_t text = result.symbols[i] - peephole_model_num_symbols(model_, PEEPHOLE_TARGET);
        if (text >= most_[size_t(result.source[n])]) std::abort();
        if (text < 0 && !peephole_model_symbol_text(model_, PEEPHOLE_TARGET, result.symbols[i])) std::abort();
      }
      for (int64_t i = result.attention_offsets[n]; result.attention && i < result.attention_offsets[n + 1]; ++i)
        total = total + double(result.attention[i]);
    }
  }

 public:
  // Traces the first source, mostly with one model; reads the whole trace.
  void trace() {
    r_.num_sources = std::min<int64_t>(r_.num_sources, one_in(50) ? 2 : 1);
    r_.num_models = one_in(50) ? 2 : 1;
    r_.num_guides = one_in(50);
    r_.should_stop = nullptr;
    const int64_t length = r_.num_sources ? source_offsets_[1] : 1;
    std::vector<float> weights(size_t(peephole_model_places(model_, length)), one_in(50) ? NAN : 1.0f);
    const peephole_trace_request request{&r_, one_in(50) ? 0 : 1 + below(9), below(9) - 4, one_in(50) ? nullptr : weights.data()};
    peephole_trace *trace = nullptr;
    char message[200] = "";
    if (peephole_trace_make(&request, &trace, message, sizeof message)) return check_message(message);
    volatile double total = 0;
    for (int64_t t = 0; t < trace->num_symbols; ++t)
      for (int64_t k = 0; k < trace->num_alternatives; ++k)
        total = total + double(trace->top_log_probs[t * trace->num_alternatives + k]) + trace->log_probs[t];
    for (int64_t a = 0; a < trace->num_arrays; ++a) {
      const peephole_array &array = trace->arrays[a];
      for (int64_t i = 0; i < array.shape[0] * array.shape[1] * array.shape[2]; ++i) total = total + double(array.numbers[i]);
    }
    for (int64_t n = 0; n < trace->num_nodes; ++n) {
      if (trace->parents[n] < -1 || trace->parents[n] >= n || trace->fates[n] > PEEPHOLE_PHRASES) std::abort();
      total = total + trace->scores[n] + trace->node_log_probs[n];
    }
    peephole_trace_release(trace);
  }

 private:
  void constrain(int64_t sources) {
    r_.num_guides = one_in(8) ? below(3) : 0;
    guide_weights_[0] = one_in(50) ? 0 : 0.5;
    r_.min_length = one_in(50) ? -1 : one_in(2) ? 0 : below(12);
    r_.no_repeat_ngram = one_in(50) ? -1 : one_in(2) ? 0 : below(4);
    r_.length_reward = one_in(50) ? NAN : double(below(3));
    r_.coverage_penalty = one_in(50) ? 1e300 : one_in(2) ? 0 : 0.5;
    r_.diverse_groups = one_in(50) ? below(9) - 1 : one_in(2) ? 0 : r_.beam_size;
    r_.diversity = one_in(50) ? -1 : double(below(3));
    for (int64_t b = 0; b < sources; ++b) {
      for (int64_t phrase = below(3); phrase > 0; --phrase) {
        for (int64_t i = one_in(50) ? 0 : 1 + below(2); i > 0; --i)
          phrases_.push_back(one_in(50) ? symbol(9) : symbol(peephole_model_num_symbols(model_, PEEPHOLE_TARGET)));
        phrase_symbol_offsets_.push_back(int64_t(phrases_.size()));
      }
      phrase_offsets_.push_back(int64_t(phrase_symbol_offsets_.size()) - 1);
    }
  }

  static int32_t stops_at_third_call(void *calls) { return ++*static_cast<int *>(calls) == 3; }
  std::mt19937_64 &random_;
  const peephole_model *model_;
  const peephole_model *models_[2] = {model_, model_};
  peephole_request r_{};
  std::vector<int32_t> sources_, copies_, targets_, phrases_;
  std::vector<int64_t> most_;  // texts to be copied from each source
  std::vector<int64_t> source_offsets_{0}, target_offsets_{0}, max_lengths_, phrase_offsets_{0}, phrase_symbol_offsets_{0};
  double guide_weights_[2] = {0.5, 2};
  std::vector<uint64_t> generators_;
  int calls_ = 0;

  int64_t below(int64_t n) { return int64_t(random_() % uint64_t(n)); }
  bool one_in(int64_t n) { return below(n) == 0; }
  int32_t symbol(int64_t size) { return int32_t(one_in(100) ? below(size + 3) - 1 : PEEPHOLE_UNK + below(size - PEEPHOLE_UNK)); }
};

// Adds sources to a session, steps and cancels in a random order; each request's arrays are gone when its source is searched.
void use_session(const peephole_model *model, std::mt19937_64 &random) {
  auto below = [&](int64_t n) { return int64_t(random() % uint64_t(n)); };
  const peephole_model *const models[2] = {model, model};
  const int64_t num_models = 1 + int64_t(below(6) == 0);
  char message[200] = "";
  const int32_t threads = int32_t(below(50) ? 1 + below(2) : 0);
  peephole_session *session = peephole_session_open(models, num_models, threads, below(50) ? 3 + below(9) : 0, message, sizeof message);
  if (!session) return check_message(message);
  std::set<int64_t> inside;
  const int64_t end = 8 + below(20);
  for (int64_t turn = 0; turn < end || (!inside.empty() && below(100)); ++turn) {
    if (turn < end && below(3)) {
      Request request(model, random);
      const int64_t ticket = below(20);
      if (request.join(session, num_models, ticket) && !inside.insert(ticket).second) std::abort();
    }
    if (!below(6)) {
      const int64_t ticket = below(20);
      if (peephole_session_cancel(session, ticket) != int32_t(inside.erase(ticket))) std::abort();
    }
    peephole_answers *answers = nullptr;
    if (peephole_session_step(session, &answers, message, sizeof message)) std::abort();
    for (int64_t n = 0; n < answers->num_sources; ++n) {
      if (!inside.erase(answers->tickets[n])) std::abort();
      if (answers->errors[n]) check_message(answers->errors[n]);
    }
    volatile double total = 0;  // reads all results
    const peephole_result &found = *answers->result;
    for (int64_t n = 0; n < found.num_targets; ++n) {
      if (answers->errors[found.source[n]]) std::abort();
      total = total + found.log_probs[n];
      for (int64_t i = found.offsets[n]; i < found.offsets[n + 1]; ++i) total = total + double(found.symbol_log_probs[i]) + found.symbols[i];
      for (int64_t i = found.attention_offsets[n]; found.attention && i < found.attention_offsets[n + 1]; ++i)
        total = total + double(found.attention[i]);
    }
    peephole_answers_release(answers);
    int64_t active, waiting, free_places;
    peephole_session_count(session, &active, &waiting, &free_places);
    if (active + waiting != int64_t(inside.size()) || free_places < 0) std::abort();
  }
  peephole_session_close(session);
}

// Opens one input and searches with it; returns 1 if it is a whole model file, 0 if it is refused.
int one_input(const unsigned char *data, size_t size, std::mt19937_64 &random) {
  static const std::vector<const char *> sets = [] {
    std::vector<const char *> names{nullptr};
    while (const char *name = peephole_instruction_set(int32_t(names.size()) - 1)) names.push_back(name);
    return names;
  }();
  char message[200] = "";
  peephole_model *model = peephole_model_open(data, size, sets[random() % sets.size()], message, sizeof message);
  if (!model) {
    check_message(message);
    return 0;
  }
  Request request(model, random);
  request.run();
  request.trace();
  if (random() % 8 == 0) use_session(model, random);
  peephole_model_close(model);
  return 1;
}

// The two parts of a model file.
struct Parts {
  std::string header, content;
};

Parts take_apart(const std::string &file) {
  uint64_t size = 0;
  for (int byte = 7; byte >= 0; --byte) size = size << 8 | static_cast<unsigned char>(file.at(size_t(byte)));
  return {file.substr(8, size), file.substr(8 + size)};
}

std::string put_together(const Parts &parts, uint64_t header_size) {
  std::string file;
  for (int byte = 0; byte < 8; ++byte) file += char(header_size >> 8 * byte & 0xFF);
  return file + parts.header + parts.content;
}

class Mutator {
 public:
  Mutator(std::vector<Parts> seeds, uint64_t seed) : seeds_(std::move(seeds)), random_(seed) {}

  std::string next() {
    Parts parts = seeds_[below(seeds_.size())];
    if (!one_in(8)) remove_checksum(parts.header);
    for (size_t changes = below(4); changes > 0; --changes) change(parts);
    uint64_t size = parts.header.size();
    if (one_in(32)) size = odd_number();
    if (one_in(16)) parts.content.resize(below(parts.content.size() + 16));
    std::string file = put_together(parts, size);
    if (one_in(4)) right_checksum(file);
    if (one_in(32)) file.resize(below(file.size() + 1));
    return file;
  }

 private:
  size_t below(size_t n) { return n ? random_() % n : 0; }
  bool one_in(size_t n) { return below(n) == 0; }

  uint64_t odd_number() {
    static const uint64_t numbers[] = {0,     1,          2,          3,       7,       255,
                                       65535, 65536,      65537,      1u << 31, UINT32_MAX, 1ull << 32,
                                       1ull << 53, (1ull << 53) + 2, 1ull << 62, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};
    return one_in(4) ? below(1000) : numbers[below(std::size(numbers))];
  }

  void change(Parts &parts) {
    switch (below(8)) {
      case 0: return change_bytes(parts.header);
      case 1: return change_bytes(parts.content);
      case 2:
      case 3: return change_number(parts.header);
      case 4:
      case 5: return change_word(parts.header);
      case 6: return move_piece(parts.header, parts.header);
      default: return move_piece(seeds_[below(seeds_.size())].header, parts.header);
    }
  }

  void change_bytes(std::string &text) {
    if (text.empty()) return;
    for (size_t count = below(3); count < 3; ++count) text[below(text.size())] = char(random_());
  }

  // Replaces a number by another.
  void change_number(std::string &text) {
    size_t begin = text.find_first_of("0123456789", below(text.size()));
    if (begin == std::string::npos) return;
    size_t end = text.find_first_not_of("0123456789", begin);
    if (end == std::string::npos) end = text.size();
    std::string number = std::to_string(odd_number());
    if (one_in(8)) number = "-" + number;
    if (one_in(8)) number += one_in(2) ? ".5" : "e" + std::to_string(below(500));
    text.replace(begin, end - begin, number);
  }

  // Replaces a word of the format by another.
  void change_word(std::string &text) {
    static const char *const words[] = {"F32",    "BF16",     "I8",   "F64",     "lstm",      "gru",   "full",    "diagonal",
                                        "none",   "true",     "false", "null",   "attention", "last",  "mean",    "additive",
                                        "dot",    "general",  "bpe",  "unigram", "characters", "NFC",  "whitespace", "\\ud83d",
                                        ".scale", ".weight",  "[[",   "]",       "{",         "}",     "\\\"",    "vocab",
                                        "model",  "segmenter", "symbols", "shape", "dtype",   "config", "__metadata__", "bias",
                                        "architecture", "settings", "made", "frontend", "encoder", "input", "output",
                                        "\"1\"", "\"2\"", "\"3\"", "peephole", "embedding"};
    const std::string old = words[below(std::size(words))], other = words[below(std::size(words))];
    size_t begin = text.find(old, below(text.size()));
    if (begin != std::string::npos) text.replace(begin, old.size(), other);
  }

  // Copies a piece of one text over, or into, another.
  void move_piece(const std::string &from, std::string &to) {
    const size_t begin = below(from.size()), size = below(one_in(2) ? 16 : 200);
    const std::string piece = from.substr(begin, size);
    to.replace(below(to.size()), one_in(2) ? piece.size() : 0, piece);
  }

  static void remove_checksum(std::string &header) {
    size_t begin = header.find("\"checksum\":\"");
    if (begin != std::string::npos) header.erase(begin, std::strlen("\"checksum\":\"01234567\","));
  }

  // If the file is still a container and has a checksum.
  static void right_checksum(std::string &file) {
    size_t place = file.find("\"checksum\":\"");
    if (place == std::string::npos) return;
    try {
      const peephole::Safetensors container(file.data(), file.size());
      file.replace(place + std::strlen("\"checksum\":\""), 8, peephole::checksum(container.metadata(), container.tensors()));
    } catch (const peephole::FileError &) {
    }
  }

  std::vector<Parts> seeds_;
  std::mt19937_64 random_;
};

}  // namespace

int main(int count, char **arguments) {
  if (count < 4) {
    std::fprintf(stderr, "usage: fuzz_models ITERATIONS SEED FILE...\n");
    return 2;
  }
  std::vector<Parts> seeds;
  for (int i = 3; i < count; ++i) {
    std::ifstream stream(arguments[i], std::ios::binary);
    seeds.push_back(take_apart({std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()}));
  }
  const long long iterations = std::atoll(arguments[1]);
  Mutator mutator(std::move(seeds), std::strtoull(arguments[2], nullptr, 10));
  const auto start = std::chrono::steady_clock::now();
  long long accepted = 0;
  std::mt19937_64 random(std::strtoull(arguments[2], nullptr, 10) + 1);
  for (long long i = 0; i < iterations; ++i) {
    const std::string file = mutator.next();
    std::unique_ptr<unsigned char[]> exact(new unsigned char[file.size()]);  // so that AddressSanitizer sees a read past the end
    if (!file.empty()) std::memcpy(exact.get(), file.data(), file.size());
    accepted += one_input(exact.get(), file.size(), random);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%lld inputs, %lld accepted, %.0f a second\n", iterations, accepted, double(iterations) / seconds);
}
