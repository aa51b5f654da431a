// The C functions of traces.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "predict/trace.h"
#include "runtime/prediction.h"

namespace peephole {
namespace {

// A peephole_trace with its memory.
struct OwnedTrace : peephole_trace {
  Trace all;
  std::vector<peephole_array> all_arrays;
};

// Returns the weights of the bent step, of sum 1; none if no step is bent.
std::vector<float> check_trace(const peephole_trace_request &r) {
  check_at_least("top", 1, r.top);
  check_given("request of the trace", r.request);
  const peephole_request &request = *r.request;
  if (request.kind != PEEPHOLE_BEAM && request.kind != PEEPHOLE_FORCE) refuse("kind: wanted a beam search or a given target");
  if (request.num_models != 1) refuse("models: wanted one model, got " + number(request.num_models));
  if (request.num_sources != 1) refuse("sources: wanted one, got " + number(request.num_sources));
  if (request.num_guides) refuse("guides: wanted none, got " + number(request.num_guides));
  check_request(request);
  const peephole_model &model = *request.models[0];
  if (model.is_language_model) refuse("models: wanted a model with a source, got a language model");
  std::vector<float> weights;
  if (r.bent_step < 0) return weights;
  if (!model.has_attention) refuse("bent_weights: wanted a model with attention");
  check_given("bent_weights", r.bent_weights);
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
  for (const TracedArray &array : t.all.arrays) {
    peephole_array shown{array.name.c_str(), int64_t(array.shape.size()), {1, 1, 1}, array.numbers.data()};
    for (size_t i = 0; i < array.shape.size(); ++i) shown.shape[i] = array.shape[i];
    t.all_arrays.push_back(shown);
  }
  t.num_arrays = int64_t(t.all_arrays.size());
  t.arrays = t.all_arrays.data();
  const TracedBeam &beam = t.all.beam;
  t.num_nodes = int64_t(beam.parents.size());
  t.parents = beam.parents.data();
  t.steps = beam.steps.data();
  t.node_symbols = beam.symbols.data();
  t.node_log_probs = beam.log_probs.data();
  t.scores = beam.scores.data();
  t.groups = beam.groups.data();
  t.fates = beam.fates.data();
}

}  // namespace
}  // namespace peephole

peephole_status peephole_trace_make(const peephole_trace_request *request, peephole_trace **trace, char *message,
                                    size_t message_size) {
  return peephole::answer(message, message_size, [&] {
    peephole::check_given("request", request);
    peephole::check_given("trace", trace);
    const std::vector<float> bent = peephole::check_trace(*request);
    auto owned = std::make_unique<peephole::OwnedTrace>();
    peephole::Watch watch(request->request->should_stop, request->request->should_stop_context);
    peephole::Watched watched(watch, true);
    owned->all = peephole::make_trace(peephole::make_searcher(*request->request), *request, bent);
    peephole::show(*owned);
    *trace = owned.release();
  });
}

void peephole_trace_release(peephole_trace *trace) { delete static_cast<peephole::OwnedTrace *>(trace); }
