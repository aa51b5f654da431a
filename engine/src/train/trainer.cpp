#include "train/trainer.h"

#include <cmath>
#include <new>
#include <stdexcept>
#include <string>

#include "file/architecture.h"
#include "file/json.h"
#include "simd/memory.h"
#include "train/step_checks.h"
#include "train/training_step.h"

namespace peephole {

namespace {

constexpr int32_t kArrays = 5;
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8, kClipEpsilon = 1e-6;  // as PyTorch's defaults

// Memory on 64 bytes.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  ~Memory() { release(data_); }
  // At least so many bytes; the content is lost if they become more.
  void *reserve(size_t bytes) {
    if (int64_t(bytes) <= size_) return data_;
    release(data_);
    data_ = nullptr;
    size_ = 0;
    data_ = enlarge(nullptr, &size_, int64_t(bytes), 1);
    return data_;
  }

 private:
  void *data_ = nullptr;
  int64_t size_ = 0;
};

template <class T>
class TrainerOf final : public Trainer {
 public:
  TrainerOf(const Architecture &architecture, const peephole_trainer_settings &given, const TrainingKernels &training,
            const ElementKernels<T> &elements, void (*make_mask)(const peephole_dropout_mask &))
      : settings_(given), elements_(elements), weights_(architecture, given.num_source_symbols, given.num_target_symbols),
        gradients_(architecture, given.num_source_symbols, given.num_target_symbols),
        average_(architecture, given.num_source_symbols, given.num_target_symbols), unit_keys_(size_t(most_units())),
        step_(weights_.view(), settings_, training, elements, make_mask, unit_keys_.data()) {
    for (size_t unit = 0; unit < unit_keys_.size(); ++unit) unit_keys_[unit] = unit_key(unit);
    Arena arena(nullptr);
    lay_out(arena);
    size_ = int64_t(arena.used() / sizeof(T) / kArrays);
    std::memset(tensors_memory_.reserve(arena.used()), 0, arena.used());
    Arena real(tensors_memory_.reserve(arena.used()));
    lay_out(real);
    bind(weights_, PEEPHOLE_WEIGHTS);
    bind(gradients_, PEEPHOLE_GRADIENTS);
    bind(average_, PEEPHOLE_AVERAGE);
    size_t trained = 0;
    while (is_constant(trained)) ++trained;
    first_ = arrays_[PEEPHOLE_WEIGHTS][trained] - all(PEEPHOLE_WEIGHTS);
    block_sums_.resize(size_t((size_ - first_ + kBlock - 1) / kBlock));
  }

  const std::vector<TensorSpec> &tensors() const override { return weights_.tensors(); }
  void *array(int32_t which, size_t index) override {
    return !is_constant(index) || which == PEEPHOLE_WEIGHTS || which == PEEPHOLE_AVERAGE ? arrays_[size_t(which)][index] : nullptr;
  }

  void run(int32_t task, peephole_trainer_step &step) override {
    const bool learns = task == PEEPHOLE_UPDATE || task == PEEPHOLE_COMPUTE_GRADIENTS;
    check_step(weights_.view(), settings_, step, task, learns);
    const NetworkView &used = (task == PEEPHOLE_COMPUTE_AVERAGE_LOSS ? average_ : weights_).view();
    void *memory = step_memory_.reserve(step_.bytes(step, learns));
    step.updated = 0;
    step.loss = step_.run(step, used, learns ? &gradients_.view() : nullptr, memory);
    if (!learns) return;
    step.gradient_norm = norm() / step.divisor;
    if (task != PEEPHOLE_UPDATE || !std::isfinite(step.loss) || !std::isfinite(step.gradient_norm)) return;
    update(step);
    step.updated = 1;
  }

 private:
  static constexpr int64_t kBlock = 1 << 14;  // numbers in a task

  int64_t most_units() const {
    const NetworkView &view = weights_.view();
    return std::max({view.hidden_size, view.encoder_size, view.embedding_size});
  }

  // Whether no step changes a tensor: the mean and the scale of frames, the mean and the deviation of vectors.
  bool is_constant(size_t index) const {
    const NetworkView &view = weights_.view();
    const MatrixView *tensor = weights_.tensors()[index].view;
    return tensor == &view.frame_mean || tensor == &view.frame_scale || tensor == &view.vector_mean || tensor == &view.vector_deviation;
  }

  // Constants come first: the first tensor is one if any is.
  void lay_out(Arena &arena) {
    for (auto &arrays : arrays_) {
      arrays.resize(weights_.tensors().size());
      for (bool constants : {true, false})
        for (size_t index = 0; index < arrays.size(); ++index) {
          if (is_constant(index) != constants) continue;
          int64_t count = 1;
          for (int64_t size : weights_.tensors()[index].shape) count *= size;
          arrays[index] = arena.take<T>(count);
        }
    }
  }

  void bind(Schema &schema, int32_t which) {
    for (size_t index = 0; index < schema.tensors().size(); ++index)
      schema.tensors()[index].view->numbers = reinterpret_cast<const unsigned char *>(arrays_[size_t(which)][index]);
  }

  T *all(int32_t which) const { return arrays_[size_t(which)][0]; }
  template <class Body>
  void for_blocks(Body body) const {
    for_tasks(settings_.threads, int64_t(block_sums_.size()),
              [&](int64_t task, int) { body(task, first_ + task * kBlock, std::min(size_, first_ + (task + 1) * kBlock)); });
  }

  // Of the gradients of the summed loss; blocks are added in their order.
  double norm() {
    for_blocks([&](int64_t task, int64_t first, int64_t end) {
      block_sums_[size_t(task)] = elements_.squares(all(PEEPHOLE_GRADIENTS) + first, end - first);
    });
    double sum = 0;
    for (double part : block_sums_) sum += part;
    return std::sqrt(sum);
  }

  void update(const peephole_trainer_step &step) {
    const double t = double(step.step + 1), clip = settings_.clip_norm;
    const double scale = clip > 0 && step.gradient_norm > clip ? clip / (step.gradient_norm + kClipEpsilon) : 1;
    WeightUpdate<T> u{};
    u.weights = all(PEEPHOLE_WEIGHTS);
    u.first_moments = all(PEEPHOLE_FIRST_MOMENTS);
    u.second_moments = all(PEEPHOLE_SECOND_MOMENTS);
    u.average = step.average_decay < 1 ? all(PEEPHOLE_AVERAGE) : nullptr;
    u.gradients = all(PEEPHOLE_GRADIENTS);
    u.gradient_scale = T(scale / step.divisor);
    u.weight_scale = T(1 - step.learning_rate * settings_.weight_decay);
    u.step_size = T(step.learning_rate / (1 - std::pow(kBeta1, t)));
    u.correction = T(1 / std::sqrt(1 - std::pow(kBeta2, t)));
    u.first_share = T(1 - kBeta1);
    u.second_share = T(1 - kBeta2);
    u.average_share = T(1 - step.average_decay);
    u.epsilon = T(kEpsilon);
    for_blocks([&](int64_t, int64_t first, int64_t end) { elements_.update(u, first, end); });
  }

  const peephole_trainer_settings settings_;
  const ElementKernels<T> &elements_;
  Schema weights_, gradients_, average_;  // each bound to its arrays
  std::vector<uint32_t> unit_keys_;
  TrainingStep<T> step_;
  std::vector<T *> arrays_[kArrays];  // of each tensor
  int64_t size_ = 0;                  // numbers of all tensors, each padded to 64 bytes
  int64_t first_ = 0;                 // the numbers of the constants, which come first
  std::vector<double> block_sums_;
  Memory tensors_memory_, step_memory_;
};

// The arrays of a batch without padding, as far as the memory of a step depends on them.
struct FullBatch {
  peephole_trainer_step step{};
  std::vector<int64_t> lengths, targets;
  std::vector<float> vectors;

  FullBatch(const Architecture &architecture, int64_t batch, int64_t source_steps, int64_t target_steps)
      : lengths(size_t(batch), source_steps) {
    if (batch < 1 || source_steps < 1 || target_steps < 1) refuse("sizes: wanted at least 1");
    if (is_vectors(architecture.output))
      vectors.resize(size_t(batch * target_steps * architecture.output_size));
    else
      targets.assign(size_t(batch * target_steps), PEEPHOLE_EOS);
    step.batch = batch;
    step.source_steps = source_steps;
    step.target_steps = target_steps;
    step.source_lengths = lengths.data();
    step.targets = targets.data();
    step.vectors = vectors.data();
  }
};

template <class T>
size_t most_bytes(const Architecture &architecture, const peephole_trainer_settings &settings, const TrainingKernels &training,
                  const ElementKernels<T> &elements, const int64_t *sizes, int64_t count, bool learns) {
  const Schema schema(architecture, settings.num_source_symbols, settings.num_target_symbols);
  TrainingStep<T> step(schema.view(), settings, training, elements, nullptr, nullptr);
  size_t most = 0;
  for (int64_t i = 0; i < count; ++i)
    most = std::max(most, step.bytes(FullBatch(architecture, sizes[3 * i], sizes[3 * i + 1], sizes[3 * i + 2]).step, learns));
  return most;
}

Architecture read_trainable(std::string_view architecture, const peephole_trainer_settings &settings) {
  const Architecture read = read_architecture(read_json(architecture));
  check_settings(settings);
  if (read.input == Input::kFrames || read.input == Input::kConvolution) check_masks(settings);
  if (settings.coverage_loss > 0 && is_vectors(read.output)) refuse("coverage_loss: wanted 0 for targets of vectors");
  if (settings.coverage_loss > 0 && (read.context != Context::kAttention || read.input == Input::kNone))
    refuse("coverage_loss: wanted 0 without attention");
  if (settings.consistency_loss > 0 && read.output != Output::kSymbols)
    refuse("consistency_loss: wanted 0 for targets other than symbols, and with copying");
  if (settings.teacher_weight > 0 && read.output != Output::kSymbols)
    refuse("teacher_weight: wanted 0 for targets other than symbols, and with copying");
  if (read.ctc && !(settings.ctc_weight > 0 && settings.ctc_weight <= 1))
    refuse("ctc_weight: wanted a number above 0 and at most 1 with a CTC output, got " + std::to_string(settings.ctc_weight));
  return read;
}

}  // namespace

std::unique_ptr<Trainer> make_trainer(std::string_view architecture, const peephole_trainer_settings &settings,
                                      const InstructionSet &set) {
  const Architecture read = read_trainable(architecture, settings);
  const TrainingKernels &training = set.training(settings.scalar, settings.operand);
  if (settings.scalar == sizeof(double))
    return std::make_unique<TrainerOf<double>>(read, settings, training, set.double_kernels.elements, set.float_kernels.dropout_mask);
  return std::make_unique<TrainerOf<float>>(read, settings, training, set.float_kernels.elements, set.float_kernels.dropout_mask);
}

size_t step_bytes(std::string_view architecture, const peephole_trainer_settings &settings, const InstructionSet &set,
                  const int64_t *sizes, int64_t count, bool learns) {
  const Architecture read = read_trainable(architecture, settings);
  const TrainingKernels &training = set.training(settings.scalar, settings.operand);
  if (settings.scalar == sizeof(double))
    return most_bytes<double>(read, settings, training, set.double_kernels.elements, sizes, count, learns);
  return most_bytes<float>(read, settings, training, set.float_kernels.elements, sizes, count, learns);
}

}  // namespace peephole
