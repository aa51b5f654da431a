// Where the fields of the C interface's structures lie in memory, so that JavaScript does not repeat the header.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "peephole.h"

namespace {

struct Field {
  const char *name;
  uint32_t offset;  // of a structure: its size
  const char *type;
};

template <class T>
constexpr const char *type_of() {
  return std::is_floating_point_v<T> ? "f64" : sizeof(T) == sizeof(int64_t) ? "i64" : "u32";  // a pointer is u32
}

#define STRUCTURE(type) {#type, sizeof(type), "struct"}
#define FIELD(type, name) {#name, offsetof(type, name), type_of<decltype(type::name)>()}
#define REQUEST(name) FIELD(peephole_request, name)
#define RESULT(name) FIELD(peephole_result, name)
#define TRACE_REQUEST(name) FIELD(peephole_trace_request, name)
#define ARRAY(name) FIELD(peephole_array, name)
#define TRACE(name) FIELD(peephole_trace, name)

constexpr Field kFields[] = {
    STRUCTURE(peephole_request),
    REQUEST(kind),
    REQUEST(threads),
    REQUEST(with_attention),
    REQUEST(num_models),
    REQUEST(models),
    REQUEST(num_sources),
    REQUEST(batch_size),
    REQUEST(ctc_weight),
    REQUEST(source_offsets),
    REQUEST(sources),
    REQUEST(copies),
    REQUEST(frames),
    REQUEST(max_lengths),
    REQUEST(target_offsets),
    REQUEST(targets),
    REQUEST(beam_size),
    REQUEST(nbest),
    REQUEST(length_penalty),
    REQUEST(length_reward),
    REQUEST(coverage_penalty),
    REQUEST(diverse_groups),
    REQUEST(diversity),
    REQUEST(min_length),
    REQUEST(no_repeat_ngram),
    STRUCTURE(peephole_result),
    RESULT(num_targets),
    RESULT(source),
    RESULT(log_probs),
    RESULT(offsets),
    RESULT(symbols),
    RESULT(symbol_log_probs),
    RESULT(attention_offsets),
    RESULT(attention),
    STRUCTURE(peephole_trace_request),
    TRACE_REQUEST(request),
    TRACE_REQUEST(top),
    TRACE_REQUEST(bent_step),
    TRACE_REQUEST(bent_weights),
    STRUCTURE(peephole_array),
    ARRAY(name),
    ARRAY(num_dimensions),
    ARRAY(shape),
    ARRAY(numbers),
    STRUCTURE(peephole_trace),
    TRACE(num_symbols),
    TRACE(symbols),
    TRACE(log_probs),
    TRACE(ranks),
    TRACE(num_alternatives),
    TRACE(top_symbols),
    TRACE(top_log_probs),
    TRACE(num_arrays),
    TRACE(arrays),
    TRACE(num_nodes),
    TRACE(parents),
    TRACE(steps),
    TRACE(node_symbols),
    TRACE(node_log_probs),
    TRACE(scores),
    TRACE(fates),
    {nullptr, 0, nullptr},
};

}  // namespace

// Returns an array of {address of a name, offset, address of a type}, up to the name 0.
extern "C" const void *peephole_layouts() { return kFields; }
