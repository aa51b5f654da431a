// Opens damaged model files and searches with those that open; built with sanitizers:
//
//     fuzz_models ITERATIONS SEED FILE…
//
// Each input is a file with a few changes, which the seed determines. Most changes keep the size of the header right and
// remove the checksum or correct it, so that the checks behind them run. Requests are valid and invalid.
#include <algorithm>
#include <chrono>
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
#include "fuzz_request.h"
#include "peephole.h"

// AddressSanitizer spends most of the time on records of allocations; short ones suffice.
extern "C" const char *__asan_default_options() { return "malloc_context_size=3:quarantine_size_mb=4"; }

namespace {

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
