// No attention: one context for all steps, (8).
#pragma once

#include "cell/packed_attention.h"

namespace {

template <class Rows>
class FixedForward : public NoAttentionWeights {
 public:
  using T = typename Rows::Number;
  explicit FixedForward(Rows &decoder) : rows(decoder) {}
  void begin(int64_t, int64_t) const {}
  void weigh(int64_t, int64_t) const {}
  const T *alpha(int64_t) const { return nullptr; }
  Vector<T> context(int64_t, int64_t b, int64_t unit) const {
    return load(static_cast<const T *>(rows.p.memory) + b * rows.M + unit, rows.M - unit);
  }

 private:
  const Rows &rows;
};

template <class Rows>
class FixedBackward : public NoAttentionWeights {
 public:
  using T = typename Rows::Number;
  FixedBackward(Rows &decoder, const peephole_decoder_gradients &given) : rows(decoder), d(given) {}
  void clear() const { std::memset(d.memory, 0, size_t(rows.p.batch * rows.M) * sizeof(T)); }
  const T *state_gradient() const { return nullptr; }
  void step(int64_t part, int64_t step, const T *contexts) const {
    for (int64_t q = 0; q < rows.walk.alive(part, step); ++q) {
      const T *from = contexts + rows.walk.rank(part, q) * rows.memory_units;
      T *to = static_cast<T *>(d.memory) + rows.sequence(part, q) * rows.M;
      for (int64_t m = 0; m < rows.M; ++m) to[m] += from[m];
    }
  }

 private:
  const Rows &rows;
  const peephole_decoder_gradients &d;
};

class PackedFixed final : public PackedAttention {
 public:
  PackedFixed(const NumberFormat &, const peephole::NetworkView &view)
      : is_mean_(view.context == peephole::Context::kMean), M_(view.encoder_size) {}
  bool has_weights() const override { return false; }
  void keep(const EncodedSources &from, SourceSlot *const *slots, AttentionScratch &) const override {
    for (int64_t b = 0, at = 0; b < from.count; at += from.lengths[b++]) {
      SourceSlot &to = *slots[b];
      to.length = from.lengths[b];
      to.outputs.reserve(M_);
      if (is_mean_)
        find_mean(from.outputs + at * M_, to.length, to.outputs.at(0));
      else
        std::memcpy(to.outputs.at(0), from.last + b * M_, size_t(M_) * sizeof(float));
    }
  }
  void weigh(int64_t, const AttentionRow *, const Selection &, AttentionScratch &) const override {}
  void find_contexts(int64_t n, const AttentionRow *rows, float *to, int64_t stride, AttentionScratch &) const override {
    for (int64_t m = 0; m < n; ++m, to += stride)
      for (int64_t unit = 0; unit < M_; unit += L) store(to + unit, load(rows[m].source->outputs.at(unit), M_ - unit));
  }

 private:
  static constexpr int L = kLanes<float>;
  bool is_mean_;
  int64_t M_;

  void find_mean(const float *from, int64_t length, float *to) const {
    for (int64_t unit = 0; unit < M_; unit += L) {
      Vector<float> sum{};
      for (int64_t j = 0; j < length; ++j) sum += load(from + j * M_ + unit, M_ - unit);
      store(to + unit, sum / splat(float(length)), M_ - unit);
    }
  }
};

struct FixedContext {
  template <class Rows>
  using Forward = FixedForward<Rows>;
  template <class Rows>
  using Backward = FixedBackward<Rows>;
};

}  // namespace
