// Checks of everything that a caller gives a trainer, since a wrong number must not become a wrong access to memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "file/architecture.h"
#include "peephole.h"

namespace {

[[noreturn]] inline void refuse(const std::string &message) { throw std::invalid_argument(message); }

inline void check_range(const char *name, double value, double low, double high, bool below) {
  if (value >= low && (below ? value < high : value <= high)) return;
  refuse(std::string(name) + ": wanted a number from " + std::to_string(low) + (below ? " and below " : " to ") +
         std::to_string(high) + ", got " + std::to_string(value));
}

inline void check_settings(const peephole_trainer_settings &s) {
  constexpr double kMost = 1e300;
  if (s.scalar != sizeof(float) && s.scalar != sizeof(double)) refuse("scalar: wanted 4 or 8, got " + std::to_string(s.scalar));
  if (s.operand != PEEPHOLE_AS_IS && !(s.operand == PEEPHOLE_BF16 && s.scalar == sizeof(float)))
    refuse("operand: wanted as it is, or bfloat16 with float");
  check_range("threads", s.threads, 1, 1 << 16, false);
  check_range("num_source_symbols", double(s.num_source_symbols), 0, 1 << 30, false);
  check_range("num_target_symbols", double(s.num_target_symbols), PEEPHOLE_UNK + 1, 1 << 30, false);
  check_range("dropout", s.dropout, 0, 1, true);
  check_range("label_smoothing", s.label_smoothing, 0, 1, false);
  check_range("clip_norm", s.clip_norm, 0, kMost, false);
  check_range("weight_decay", s.weight_decay, 0, kMost, false);
  check_range("coverage_loss", s.coverage_loss, 0, kMost, false);
  check_range("consistency_loss", s.consistency_loss, 0, kMost, false);
  check_range("teacher_weight", s.teacher_weight, 0, 1, false);
}

// Those of networks that read frames.
inline void check_masks(const peephole_trainer_settings &s) {
  check_range("time_masks", double(s.time_masks), 0, 1 << 20, false);
  check_range("time_mask_size", double(s.time_mask_size), 0, 1 << 30, false);
  check_range("feature_masks", double(s.feature_masks), 0, 1 << 20, false);
  check_range("feature_mask_size", double(s.feature_mask_size), 0, 1 << 30, false);
}

constexpr int64_t kMostSymbols = int64_t(1) << 40;

inline void check_symbol(const char *name, int64_t b, int64_t symbol, int64_t count) {
  if (symbol < 0 || symbol >= count)
    refuse(std::string(name) + " " + std::to_string(b) + ": wanted symbols from 0 and below " + std::to_string(count) + ", got " +
           std::to_string(symbol));
}

// Whether the network copies: symbols that its source has are then above its own.
inline bool copies(const peephole::NetworkView &network) { return network.gate_weight.rows > 0; }

inline void check_sources(const peephole::NetworkView &network, const peephole_trainer_step &step) {
  check_range("source_steps", double(step.source_steps), 1, 1 << 30, false);
  const bool frames = network.input_size > 0;
  if (frames && (!step.frames || !step.source_lengths)) refuse("frames: wanted numbers and lengths, got none");
  if (!frames && (!step.sources || !step.source_lengths)) refuse("sources: wanted symbols and lengths, got none");
  if (copies(network) && !step.copied) refuse("copied: wanted symbols, got none");
  for (int64_t b = 0; b < step.batch; ++b) {
    const int64_t length = step.source_lengths[b];
    if (length < 1 || length > step.source_steps)
      refuse("source " + std::to_string(b) + ": wanted a length from 1 to " + std::to_string(step.source_steps) + ", got " +
             std::to_string(length));
    for (int64_t t = 0; t < length && !frames; ++t) {
      check_symbol("source", b, step.sources[b * step.source_steps + t], network.source_embedding.rows);
      if (copies(network)) check_symbol("copied", b, step.copied[b * step.source_steps + t], kMostSymbols);
    }
  }
}

inline void check_targets(const peephole::NetworkView &network, const peephole_trainer_step &step) {
  check_range("target_steps", double(step.target_steps), 1, 1 << 30, false);
  const bool vectors = peephole::is_vectors(network.output_kind);
  if (step.log_densities && network.output_kind != peephole::Output::kGaussian)
    refuse("log_densities: wanted none for a network whose targets have no density");
  if (vectors && !step.vectors) refuse("vectors: wanted numbers, got none");
  if (vectors) return;
  if (!step.targets) refuse("targets: wanted symbols, got none");
  for (int64_t b = 0; b < step.batch; ++b) {
    const int64_t *target = step.targets + b * step.target_steps;
    for (int64_t t = 0; t < step.target_steps; ++t) {
      check_symbol("target", b, target[t], copies(network) ? kMostSymbols : network.target_embedding.rows);
      const bool pads = target[t] == PEEPHOLE_PAD;
      if (pads && t == 0) refuse("target " + std::to_string(b) + ": wanted at least one symbol, got none");
      if (!pads && t > 0 && target[t - 1] == PEEPHOLE_PAD)
        refuse("target " + std::to_string(b) + ": wanted <pad> after its last symbol only, got it at " + std::to_string(t - 1));
    }
  }
}

// Those of a consistency loss.
inline void check_pairs(const peephole_trainer_step &step) {
  if (step.batch % 2) refuse("batch: wanted an even number with a consistency loss, got " + std::to_string(step.batch));
  const int64_t half = step.batch / 2, U = step.target_steps;
  for (int64_t b = 0; b < half; ++b)
    if (!std::equal(step.targets + b * U, step.targets + (b + 1) * U, step.targets + (b + half) * U))
      refuse("target " + std::to_string(b + half) + ": wanted that of pair " + std::to_string(b) + " with a consistency loss, got another");
}

// What a teacher gives.
inline void check_taught(const peephole::NetworkView &network, const peephole_trainer_step &step) {
  constexpr double kRounding = 1e-3;
  check_range("num_taught", double(step.num_taught), 1, 1 << 20, false);
  if (!step.taught_symbols || !step.taught_shares) refuse("taught_symbols: wanted symbols and shares of a teacher, got none");
  for (int64_t at = 0; at < step.batch * step.target_steps; ++at) {
    if (step.targets[at] == PEEPHOLE_PAD) continue;
    double sum = 0;
    for (int64_t k = at * step.num_taught; k < (at + 1) * step.num_taught; ++k) {
      check_symbol("taught symbols of target", at / step.target_steps, step.taught_symbols[k], network.target_embedding.rows);
      if (!(step.taught_shares[k] >= 0)) refuse("taught_shares: wanted numbers from 0, got " + std::to_string(step.taught_shares[k]));
      sum += double(step.taught_shares[k]);
    }
    if (!(std::abs(sum - 1) <= kRounding)) refuse("taught_shares: wanted a sum of 1 for each symbol, got " + std::to_string(sum));
  }
}

inline void check_step(const peephole::NetworkView &network, const peephole_trainer_settings &settings, const peephole_trainer_step &step,
                       int32_t task, bool learns) {
  if (task < PEEPHOLE_UPDATE || task > PEEPHOLE_COMPUTE_AVERAGE_LOSS) refuse("task: got unknown number " + std::to_string(task));
  check_range("batch", double(step.batch), 1, 1 << 30, false);
  if (network.input != peephole::Input::kNone) check_sources(network, step);
  check_targets(network, step);
  if (!learns) return;
  if (settings.consistency_loss > 0) check_pairs(step);
  if (settings.teacher_weight > 0) check_taught(network, step);
  if (!step.sites || !step.examples) refuse("examples: wanted numbers of examples and dropout sites, got none");
  check_range("step", double(step.step), 0, 1e15, false);
  check_range("learning_rate", step.learning_rate, 0, 1e300, false);
  check_range("average_decay", step.average_decay, 0, 1, false);
  check_range("sampling_probability", step.sampling_probability, 0, 1, false);
  if (step.sampling_probability > 0 && peephole::is_vectors(network.output_kind))
    refuse("sampling_probability: wanted 0 for targets of vectors, got " + std::to_string(step.sampling_probability));
  if (!(step.divisor > 0) || std::isinf(step.divisor)) refuse("divisor: wanted a number above 0, got " + std::to_string(step.divisor));
}

}  // namespace
