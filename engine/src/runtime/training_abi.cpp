// The C functions of training: call the kernels of an instruction set.
#include "peephole.h"

#include "train/decoder.h"
#include "runtime/instruction_sets.h"
#include "train/lstm.h"
#include "train/output_layout.h"

using peephole::InstructionSet;
using peephole::instruction_set_at;
using peephole::instruction_set_named;

int32_t peephole_abi_version(void) { return PEEPHOLE_ABI_VERSION; }

const char *peephole_instruction_set(int32_t index) {
  const InstructionSet *set = instruction_set_at(index);
  return set ? set->name : nullptr;
}

size_t peephole_lstm_saved_bytes(const peephole_lstm *problem) {
  return with_types(problem->scalar, problem->operand, [&](auto t, auto o) {
    return with_cell(problem->cell, [&](auto cell) {
      return LSTMForward<decltype(t), decltype(o), decltype(cell)>(*problem, nullptr).kept.used();
    });
  });
}

size_t peephole::lstm_scratch_bytes(const peephole_lstm &problem, bool backward, const DistinctInputs *inputs) {
  static const peephole_lstm_gradients none{};
  return with_types(problem.scalar, problem.operand, [&](auto t, auto o) {
    return with_cell(problem.cell, [&](auto cell) {
      return backward ? LSTMBackward<decltype(t), decltype(o), decltype(cell)>(problem, none, inputs).scratch.used()
                      : LSTMForward<decltype(t), decltype(o), decltype(cell)>(problem, inputs).scratch.used();
    });
  });
}

size_t peephole_lstm_scratch_bytes(const peephole_lstm *problem, int32_t backward) {
  return peephole::lstm_scratch_bytes(*problem, backward, nullptr);
}

peephole_status peephole_lstm_forward(const peephole_lstm *problem, const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->training(problem->scalar, problem->operand).lstm_forward(*problem, nullptr);
  return PEEPHOLE_OK;
}

peephole_status peephole_lstm_backward(const peephole_lstm *problem, const peephole_lstm_gradients *gradients,
                               const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->training(problem->scalar, problem->operand).lstm_backward(*problem, *gradients, nullptr);
  return PEEPHOLE_OK;
}

size_t peephole_decoder_saved_bytes(const peephole_decoder *problem) {
  return with_types(problem->scalar, problem->operand, [&](auto t, auto o) {
    return with_decoder_forward<decltype(t), decltype(o)>(*problem, nullptr, [](auto &pass, auto &) { return pass.kept.used(); });
  });
}

size_t peephole::decoder_scratch_bytes(const peephole_decoder &problem, bool backward, const DistinctInputs *inputs) {
  const std::vector<peephole_decoder_layer_gradients> layers(size_t(problem.num_layers));
  peephole_decoder_gradients none{};
  none.layers = layers.data();
  return with_types(problem.scalar, problem.operand, [&](auto t, auto o) {
    using T = decltype(t);
    using O = decltype(o);
    auto used = [](auto &pass, auto &) { return pass.scratch.used(); };
    return backward ? with_decoder_backward<T, O>(problem, none, inputs, used) : with_decoder_forward<T, O>(problem, inputs, used);
  });
}

size_t peephole_decoder_scratch_bytes(const peephole_decoder *problem, int32_t backward) {
  return peephole::decoder_scratch_bytes(*problem, backward, nullptr);
}

peephole_status peephole_decoder_forward(const peephole_decoder *problem, const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->training(problem->scalar, problem->operand).decoder_forward(*problem, nullptr, nullptr);
  return PEEPHOLE_OK;
}

peephole_status peephole_decoder_backward(const peephole_decoder *problem, const peephole_decoder_gradients *gradients,
                                  const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->training(problem->scalar, problem->operand).decoder_backward(*problem, *gradients, nullptr);
  return PEEPHOLE_OK;
}

size_t peephole_linear_scratch_bytes(const peephole_linear *problem, int32_t backward) {
  return with_types(problem->scalar, problem->operand, [&](auto t, auto o) {
    return LinearScratch<decltype(t), decltype(o)>(*problem, backward, nullptr).arena.used();
  });
}

peephole_status peephole_linear_forward(const peephole_linear *problem, const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->training(problem->scalar, problem->operand).linear_forward(*problem);
  return PEEPHOLE_OK;
}

peephole_status peephole_linear_backward(const peephole_linear *problem, const peephole_linear_gradients *gradients,
                                 const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->training(problem->scalar, problem->operand).linear_backward(*problem, *gradients);
  return PEEPHOLE_OK;
}

size_t peephole_output_loss_scratch_bytes(const peephole_output_loss *problem, int32_t gradients) {
  return with_types(problem->scalar, problem->operand, [&](auto t, auto o) {
    return OutputLossScratch<decltype(t), decltype(o)>(*problem, gradients, nullptr).arena.used();
  });
}

peephole_status peephole_output_loss_run(const peephole_output_loss *problem, const peephole_output_loss_gradients *gradients,
                                 const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  const bool all_symbols = set->training(problem->scalar, problem->operand).output_loss(*problem, gradients);
  return all_symbols ? PEEPHOLE_OK : PEEPHOLE_BAD_TARGET;
}

peephole_status peephole_dropout_mask_run(const peephole_dropout_mask *problem, const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->float_kernels.dropout_mask(*problem);
  return PEEPHOLE_OK;
}

peephole_status peephole_activation(int32_t function, int32_t scalar, int64_t n, const void *in, void *out,
                            const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  if (set == nullptr) return PEEPHOLE_NO_INSTRUCTION_SET;
  set->arithmetic(scalar).activation(function, n, in, out);
  return PEEPHOLE_OK;
}

int64_t peephole_peak(int64_t repeats, int32_t scalar, const char *instruction_set) {
  const InstructionSet *set = instruction_set_named(instruction_set);
  return set == nullptr ? -1 : set->arithmetic(scalar).peak(repeats);
}
