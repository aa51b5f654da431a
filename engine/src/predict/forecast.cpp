#include "predict/forecast.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>

#include "cell/real_vectors.h"
#include "runtime/poll.h"
#include "runtime/threads.h"
#include "runtime/watch.h"

namespace peephole {
namespace {

constexpr int64_t kMostDrawn = 1 << 12;      // targets of a worker at the same time

// The mean and the deviation of (51) of one source's components.
struct Units {
  std::vector<float> mean, deviation;
};

Units units_of(const VectorOutput &output, const float *frames, int64_t length, int64_t frame_size) {
  if (!output.source_units) return {output.mean, output.deviation};
  Units units{std::vector<float>(size_t(output.size)), std::vector<float>(size_t(output.size))};
  measure_units(frames, length, frame_size, output.size, units.mean.data(), units.deviation.data());
  return units;
}

// Draws the targets of some sources on one thread.
class Forecaster {
 public:
  Forecaster(const Network &network, const VectorOutput &output, int64_t frame_size, const peephole_forecast &request)
      : network_(network), output_(output), F(frame_size), D(output.size), request_(request) {}

  // Sources first up to end - 1.
  void run(int64_t first, int64_t end) {
    decoder_.reset(network_.new_decoder());
    units_.clear();
    read(first, end);
    const int64_t n = (end - first) * request_.num_samples;
    for (int64_t step = 0; step < request_.num_steps; ++step) {
      decoder_->step_vectors(n, parents_.data(), fed_.data());
      if (step == 0) std::iota(parents_.begin(), parents_.end(), 0);  // each row continues itself
      for (int64_t row = 0; row < n; ++row) draw(first, row, step);
      poll(n * D * output_.numbers * 16);
    }
  }

 private:
  const Network &network_;
  const VectorOutput &output_;
  const int64_t F, D;
  const peephole_forecast &request_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<Units> units_;
  std::vector<int64_t> parents_;
  std::vector<float> fed_;  // of each row: z_{t-1}, or z_0 without feedback
  std::vector<std::vector<float>> frames_;

  void read(int64_t first, int64_t end) {
    const size_t count = size_t(end - first);
    frames_.resize(count);
    std::vector<const void *> sources;
    std::vector<int64_t> lengths, slots;
    parents_.clear();
    fed_.clear();
    for (int64_t b = first; b < end; ++b) {
      const float *from = request_.frames + request_.source_offsets[b] * F;
      const int64_t length = request_.source_offsets[b + 1] - request_.source_offsets[b];
      std::vector<float> &frames = frames_[size_t(b - first)];
      frames.assign(from, from + length * F);
      units_.push_back(units_of(output_, from, length, F));
      const Units &units = units_.back();
      auto normalized = [&](int64_t t, int64_t d) {
        return (from[t * F + d] - units.mean[size_t(d)]) / units.deviation[size_t(d)];
      };
      for (int64_t t = 0; output_.source_units && t < length; ++t)
        for (int64_t d = 0; d < D; ++d) frames[size_t(t * F + d)] = normalized(t, d);
      for (int64_t s = 0; s < request_.num_samples; ++s) {
        parents_.push_back(b - first);
        for (int64_t d = 0; d < D; ++d) fed_.push_back(output_.continues ? normalized(length - 1, d) : 0.0f);
      }
      sources.push_back(frames.data());
      lengths.push_back(length);
      slots.push_back(b - first);
    }
    decoder_->read(end - first, sources.data(), nullptr, lengths.data(), slots.data());
  }

  // Draws the vector of a row, (56), as the next input and as a result.
  void draw(int64_t first, int64_t row, int64_t step) {
    const float *raw = decoder_->log_probs(row);
    const int64_t source = row / request_.num_samples;
    const Units &units = units_[size_t(source)];
    const int64_t at = ((first * request_.num_samples + row) * request_.num_steps + step) * D;
    for (int64_t d = 0; d < D; ++d) {
      const double noise = request_.noise[at + d];
      const double z = output_.kind == Output::kGaussian ? gaussian(raw, d, noise) : quantile(raw, d, noise);
      if (output_.feedback) fed_[size_t(row * D + d)] = float(z);
      request_.samples[at + d] = float(float(z) * units.deviation[size_t(d)] + units.mean[size_t(d)]);
    }
  }

  double gaussian(const float *raw, int64_t d, double noise) const {
    return raw[d] + (Softplus(raw[D + d]).value + kSmallestDeviation) * noise;  // (53)
  }

  // The quantile at the level `noise`, linear between the quantiles of (54).
  double quantile(const float *raw, int64_t d, double noise) const {
    const int64_t Q = output_.numbers, middle = Q / 2;
    const double position = noise * double(Q + 1) - 1;
    const int64_t left = std::clamp(int64_t(std::floor(position)), int64_t(0), Q - 2);
    auto at = [&](int64_t k) {
      double found = raw[middle * D + d];
      for (int64_t i = middle + 1; i <= k; ++i) found += Softplus(raw[i * D + d]).value;
      for (int64_t i = middle - 1; i >= k; --i) found -= Softplus(raw[i * D + d]).value;
      return found;
    };
    const double low = at(left);
    return low + (position - double(left)) * (at(left + 1) - low);
  }
};

}  // namespace

VectorOutput read_vector_output(const NetworkView &view) {
  VectorOutput output;
  output.kind = view.output_kind;
  if (!is_vectors(output.kind)) return output;
  output.size = view.output_size;
  output.numbers = view.output.weight.rows / view.output_size;
  output.source_units = view.source_units;
  output.continues = view.continues;
  output.feedback = view.feedback;
  auto read = [&](const MatrixView &constants) {
    std::vector<float> numbers(static_cast<size_t>(view.output_size));
    std::memcpy(numbers.data(), constants.numbers, numbers.size() * sizeof(float));
    return numbers;
  };
  if (output.source_units) return output;
  output.mean = read(view.vector_mean);
  output.deviation = read(view.vector_deviation);
  return output;
}

void forecast(const Network &network, const VectorOutput &output, int64_t frame_size, const peephole_forecast &request) {
  const int64_t part = std::max<int64_t>(1, std::min(request.batch_size, kMostDrawn / request.num_samples));
  struct Shared {
    int64_t num_sources, part;
    Watch watch;
    std::vector<Forecaster> workers;
    std::mutex mutex;
    std::exception_ptr error;
  } shared{request.num_sources, part, {request.should_stop, request.should_stop_context}, {}, {}, {}};
  const int64_t tasks = (request.num_sources + part - 1) / part;
  const int threads = int(std::min<int64_t>(request.threads, std::max<int64_t>(1, tasks)));
  for (int worker = 0; worker < threads; ++worker) shared.workers.emplace_back(network, output, frame_size, request);
  parallel(
      int(tasks), threads,
      [](void *context, int task, int thread) {
        auto &all = *static_cast<Shared *>(context);
        if (all.watch.stopped()) return;
        Watched watched(all.watch, thread == 0);
        try {
          all.workers[size_t(thread)].run(task * all.part, std::min(all.num_sources, (task + 1) * all.part));
        } catch (const Stopped &) {
        } catch (...) {
          all.watch.stop();
          std::lock_guard<std::mutex> lock(all.mutex);
          all.error = std::current_exception();
        }
      },
      &shared, [](void *context) { static_cast<Shared *>(context)->watch.ask(); });
  if (shared.watch.caller_stops()) throw Stopped{};
  if (shared.error) std::rethrow_exception(shared.error);
}

}  // namespace peephole
