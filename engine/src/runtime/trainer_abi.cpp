// The C functions of whole training steps.
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string_view>

#include "runtime/instruction_sets.h"
#include "train/trainer.h"

struct peephole_trainer {
  std::unique_ptr<peephole::Trainer> trainer;
};

namespace {

// Runs body; an exception becomes a message.
template <class Body>
bool completes(char *message, size_t message_size, Body body) {
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

}  // namespace

peephole_trainer *peephole_trainer_open(const char *architecture, size_t size, const peephole_trainer_settings *settings,
                                        const char *instruction_set, char *message, size_t message_size) {
  std::unique_ptr<peephole_trainer> made;
  completes(message, message_size, [&] {
    const auto *set = instruction_set ? peephole::instruction_set_named(instruction_set) : peephole::instruction_set_at(0);
    if (set == nullptr) throw std::invalid_argument("unknown instruction set, or one that this processor lacks");
    made = std::make_unique<peephole_trainer>();
    made->trainer = peephole::make_trainer(std::string_view(architecture, size), *settings, *set);
  });
  return made && made->trainer ? made.release() : nullptr;
}

peephole_status peephole_trainer_step_bytes(const char *architecture, size_t size, const peephole_trainer_settings *settings,
                                            const int64_t *sizes, int64_t count, int32_t learns, size_t *bytes, char *message,
                                            size_t message_size) {
  return completes(message, message_size, [&] {
    const std::string_view text(architecture, size);
    *bytes = peephole::step_bytes(text, *settings, *peephole::instruction_set_at(0), sizes, count, learns != 0);
  }) ? PEEPHOLE_OK : PEEPHOLE_REFUSED;
}

void peephole_trainer_close(peephole_trainer *trainer) { delete trainer; }

int32_t peephole_trainer_describe(const peephole_trainer *trainer, int64_t index, peephole_trainer_tensor *tensor) {
  const auto &tensors = trainer->trainer->tensors();
  if (index < 0 || index >= int64_t(tensors.size())) return 0;
  const peephole::TensorSpec &spec = tensors[size_t(index)];
  *tensor = {};
  tensor->name = spec.name.c_str();
  tensor->num_dimensions = int64_t(spec.shape.size());
  tensor->shape[0] = spec.shape[0];
  tensor->shape[1] = spec.shape.size() > 1 ? spec.shape[1] : 1;
  for (int32_t which = 0; which < 5; ++which) tensor->arrays[which] = trainer->trainer->array(which, size_t(index));
  return 1;
}

peephole_status peephole_trainer_run(peephole_trainer *trainer, int32_t task, peephole_trainer_step *step, char *message,
                                     size_t message_size) {
  return completes(message, message_size, [&] { trainer->trainer->run(task, *step); }) ? PEEPHOLE_OK : PEEPHOLE_REFUSED;
}
