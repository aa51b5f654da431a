// The C functions of prediction: pack a model, search, draw.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/prediction.h"
#include "runtime/result.h"

namespace peephole {

// What a search of a request's models needs.
Searcher make_searcher(const peephole_request &r) {
  const peephole_model &first = *r.models[0];
  Searcher searcher{{}, {}, r.kind == PEEPHOLE_FORCE ? 0 : r.ctc_weight, first.instruction_set->float_kernels.largest,
                              peephole_model_num_symbols(&first, PEEPHOLE_TARGET), first.frame_size, first.copies};
  for (int64_t m = 0; m < r.num_models; ++m) searcher.networks.push_back(r.models[m]->network.get());
  for (int64_t g = 0; g < r.num_guides; ++g) searcher.guides.push_back({r.guides[g]->network.get(), r.guide_weights[g]});
  return searcher;
}

namespace {

bool is_side(int32_t side) { return side == PEEPHOLE_SOURCE || side == PEEPHOLE_TARGET; }

}  // namespace
}  // namespace peephole

peephole_model *peephole_model_open(const void *file, size_t size, const char *instruction_set, char *message,
                                    size_t message_size) {
  auto model = std::unique_ptr<peephole_model>();
  const peephole_status opened = peephole::answer(message, message_size, [&] {
    peephole::check_given("file", file);
    model = std::make_unique<peephole_model>();
    model->instruction_set =
        instruction_set ? peephole::instruction_set_named(instruction_set) : peephole::instruction_set_at(0);
    if (!model->instruction_set)
      peephole::refuse("instruction set " + std::string(instruction_set) + ": there is none, or it cannot run here");
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
  return opened == PEEPHOLE_OK ? model.release() : nullptr;
}

void peephole_model_close(peephole_model *model) { delete model; }

int64_t peephole_model_frame_size(const peephole_model *model) { return model->frame_size; }

int64_t peephole_model_vector_size(const peephole_model *model) { return model->vectors.size; }

int32_t peephole_model_copies(const peephole_model *model) { return model->copies; }

int64_t peephole_model_places(const peephole_model *model, int64_t length) { return model->network->places(length); }

int64_t peephole_model_num_symbols(const peephole_model *model, int32_t side) {
  return peephole::is_side(side) ? int64_t(model->tables[side].names.size()) : 0;
}

const char *peephole_model_symbol_text(const peephole_model *model, int32_t side, int64_t symbol) {
  if (symbol < 0 || symbol >= peephole_model_num_symbols(model, side)) return nullptr;
  return model->tables[side].names[size_t(symbol)].c_str();
}

int32_t peephole_model_find_symbol(const peephole_model *model, int32_t side, const char *text, size_t size) {
  if (!peephole::is_side(side)) return PEEPHOLE_UNK;
  auto found = model->ids[side].find(std::string(text, size));
  return found == model->ids[side].end() ? PEEPHOLE_UNK : found->second;
}

peephole_status peephole_search(const peephole_request *request, peephole_result **result, char *message, size_t message_size) {
  return peephole::answer(message, message_size, [&] {
    peephole::check_given("request", request);
    peephole::check_given("result", result);
    peephole::check_request(*request);
    const peephole::Searcher searcher = peephole::make_searcher(*request);
    auto gathered = std::make_unique<peephole::Result>();
    gathered->gather(peephole::search(searcher, *request));
    *result = gathered.release();
  });
}

void peephole_result_release(peephole_result *result) { delete static_cast<peephole::Result *>(result); }

peephole_status peephole_draw(const peephole_model *model, const peephole_forecast *request, char *message,
                              size_t message_size) {
  return peephole::answer(message, message_size, [&] {
    peephole::check_given("model", model);
    peephole::check_given("request", request);
    if (!model->vectors.size) peephole::refuse("model: wanted targets of vectors, got symbols; peephole_search finds them");
    peephole::check_at_least("threads", 1, request->threads);
    peephole::check_at_least("sources", 0, request->num_sources);
    peephole::check_at_least("samples", 1, request->num_samples);
    peephole::check_at_least("steps", 1, request->num_steps);
    peephole::check_at_least("batch_size", 1, request->batch_size);
    peephole::check_given("source_offsets", request->source_offsets);
    if (request->num_sources) {
      peephole::check_given("frames", request->frames);
      peephole::check_given("noise", request->noise);
      peephole::check_given("samples", request->samples);
    }
    peephole::check_offsets("source", request->source_offsets, request->num_sources, 1, "frames");
    peephole::forecast(*model->network, model->vectors, model->frame_size, *request);
  });
}
