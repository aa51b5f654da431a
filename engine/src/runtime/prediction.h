// A packed model, and what the C functions of prediction share: checks of their arguments, and how they answer.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>

#include "file/model_file.h"
#include "peephole.h"
#include "predict/forecast.h"
#include "predict/search.h"
#include "runtime/instruction_sets.h"
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

namespace peephole {

// Writes one line to the caller's memory, if there is any.
inline void write_message(char *message, size_t message_size, const char *text) {
  if (message) std::snprintf(message, message_size, "%s", text);
}

// Runs body, which may throw Stopped; another exception becomes a message.
template <class Body>
peephole_status answer(char *message, size_t message_size, Body body) {
  try {
    body();
    return PEEPHOLE_OK;
  } catch (const Stopped &) {
    write_message(message, message_size, "stopped by the caller");
    return PEEPHOLE_STOPPED;
  } catch (const std::bad_alloc &) {
    write_message(message, message_size, "not enough memory");
  } catch (const std::exception &error) {
    write_message(message, message_size, error.what());
  }
  return PEEPHOLE_REFUSED;
}

// The checks throw std::invalid_argument, whose message says which argument is wrong, what was wanted, and what it is.
[[noreturn]] void refuse(const std::string &message);

std::string number(int64_t n);

void check_at_least(const char *name, int64_t least, int64_t got);

// An argument that must not be NULL.
void check_given(const char *name, const void *address);

// A list of at least one model.
void check_models(const char *name, const peephole_model *const *models, int64_t count);

// Sequences of at least `least` symbols or frames.
void check_offsets(const char *name, const int64_t *offsets, int64_t count, int64_t least, const char *items);

void check_request(const peephole_request &request);

// What a search of a request's models needs.
Searcher make_searcher(const peephole_request &request);

}  // namespace peephole
