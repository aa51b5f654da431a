// A network in training: its tensors, the optimiser's state, and the memory of a step.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "file/schema.h"
#include "peephole.h"
#include "runtime/instruction_sets.h"

namespace peephole {

class Trainer {
 public:
  virtual ~Trainer() = default;
  // The tensors, in the order of Seq2Seq.state_dict(), and the arrays of one of them.
  virtual const std::vector<TensorSpec> &tensors() const = 0;
  virtual void *array(int32_t which, size_t index) = 0;
  // Throws std::invalid_argument for invalid arguments, and std::bad_alloc; then nothing was changed.
  virtual void run(int32_t task, peephole_trainer_step &step) = 0;
};

// Throws FileError for an invalid architecture, std::invalid_argument for one that the engine does not train and for
// invalid settings, and std::bad_alloc.
std::unique_ptr<Trainer> make_trainer(std::string_view architecture, const peephole_trainer_settings &settings,
                                      const InstructionSet &instruction_set);

// The bytes of a step of the largest of `count` batches, (count,3): B, T, U. Throws as make_trainer.
size_t step_bytes(std::string_view architecture, const peephole_trainer_settings &settings,
                  const InstructionSet &instruction_set, const int64_t *sizes, int64_t count, bool learns);

}  // namespace peephole
