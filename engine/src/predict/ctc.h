// CTC as a decoder: the probability of each next symbol from those of prefixes, (34), (35). See nn/ctc_stepper.py, whose
// numbers these are.
//
// Probabilities of paths become as small as e^-1000, so the two numbers of each place of a row have a power of 2^-256
// beside them. A symbol then costs a few products for each place; only the results are logarithms.
#pragma once

#include <cmath>

#include "predict/packed_network.h"
#include "runtime/poll.h"

namespace {

// Paths of a prefix over the first outputs, those ending with its last symbol and those with blank: each number times
// 2^(-256 power).
struct CtcPlace {
  double symbol, blank;
  int64_t power;
  bool is_empty() const { return symbol == 0 && blank == 0; }
};

struct CtcSource {
  int64_t length;       // S
  Buffer<float> probs;  // (S, Vp) p(k | j), (31); 0 above V
};

// A row's prefix and its places 0 to S.
struct CtcRow {
  int64_t slot, first_place;
  double prefix;  // log P(Y … | X)
  int32_t last;   // kBlank for the empty prefix
  bool begun;     // the next symbol is part of Y; the first is <s>
};

class CtcDecoder final : public peephole::Decoder {
 public:
  // `outputs` and `lengths` are those of the sources that the encoder has read last when `read` is called.
  CtcDecoder(const PackedNetwork &network, const Buffer<float> &outputs, const Buffer<int64_t> &lengths)
      : net_(network), width_(network.ctc.width()), outputs_(outputs), lengths_(lengths),
        vectors_(network.format, in_lanes<float>(network.M)) {}
  CtcDecoder(const CtcDecoder &) = delete;
  CtcDecoder &operator=(const CtcDecoder &) = delete;
  ~CtcDecoder() override {
    for (int64_t p = 0; p < num_slots_; ++p) delete *slots_.at(p);
  }

  int64_t read(int64_t n, const void *const *, const int32_t *const *, const int64_t *, const int64_t *where) override {
    FlushDenormals flush;
    const int64_t first = num_rows_;
    rows_[turn_].reserve(first + n);
    const float *outputs = outputs_.at(0);
    for (int64_t b = 0; b < n; ++b) {
      CtcSource &source = slot(where[b]);
      source.length = *lengths_.at(b);
      find_probs(outputs, source);
      outputs += source.length * net_.M;
      begin(source, *rows_[turn_].at(first + b) = {where[b], num_places_, 0, kBlank, false});
    }
    num_rows_ = first + n;
    return first;
  }

  void step(int64_t n, const int64_t *parents, const int32_t *symbols) override {
    FlushDenormals flush;
    const int before = turn_;
    int64_t total = 0;
    for (int64_t r = 0; r < n; ++r) total += source_of(*rows_[before].at(parents[r])).length + 1;
    turn_ ^= 1;
    num_places_ = 0;
    rows_[turn_].reserve(n);
    places_[turn_].reserve(total);
    log_probs_.reserve(n * width_);
    for (int64_t r = 0; r < n; ++r) {
      const CtcRow &parent = *rows_[before].at(parents[r]);
      const CtcSource &source = source_of(parent);
      CtcRow &row = *rows_[turn_].at(r) = {parent.slot, num_places_, parent.prefix, parent.last, true};
      num_places_ += source.length + 1;
      const CtcPlace *from = places_[before].at(parent.first_place);
      CtcPlace *to = places_[turn_].at(row.first_place);
      if (parent.begun)
        extend(source, symbols[r], from, row, to);
      else
        std::memcpy(to, from, size_t(source.length + 1) * sizeof(CtcPlace));
      predict(source, row, to, log_probs_.at(r * width_));
      peephole::poll(source.length * (width_ + 16) + width_ * 16);
    }
    num_rows_ = n;
  }

  // Records p(k | j) of the source that the encoder has read last.
  void record(peephole::Recorder &recorder) {
    CtcSource source;
    source.length = *lengths_.at(0);
    find_probs(outputs_.at(0), source);
    for (int64_t j = 0; j < source.length; ++j)
      recorder.record("ctc", -1, -1, nullptr, j, source.probs.at(j * width_), net_.V);
  }

  float *log_probs(int64_t row) override { return log_probs_.at(row * width_); }
  const float *attention(int64_t) const override { return nullptr; }
  Decoder *new_ctc() const override { return nullptr; }

 private:
  static constexpr int L = kLanes<float>, LD = kLanes<double>, kColumns = 4;
  static constexpr int32_t kBlank = PEEPHOLE_PAD;
  static constexpr double kUnit = 0x1p-256, kLog = -256 * 0.693147180559945309417232121458;
  static constexpr float kNoPath = -1e6f;  // in place of log 0; see nn/ctc_stepper.py
  const PackedNetwork &net_;
  const int64_t width_;
  const Buffer<float> &outputs_;
  const Buffer<int64_t> &lengths_;
  int turn_ = 0;
  int64_t num_rows_ = 0, num_slots_ = 0, num_places_ = 0;
  Buffer<CtcSource *> slots_;
  Buffer<CtcRow> rows_[2];
  Buffer<CtcPlace> places_[2];
  Buffer<double> weights_, sums_;
  Buffer<float> log_probs_, line_;
  Operands vectors_;
  Selection selection_;

  CtcSource &slot(int64_t index) {
    slots_.reserve(index + 1);
    for (; num_slots_ <= index; ++num_slots_) *slots_.at(num_slots_) = new CtcSource;
    return **slots_.at(index);
  }
  const CtcSource &source_of(const CtcRow &row) const { return **slots_.at(row.slot); }

  // 2^(-256 power), 0 if it is too small to count beside 1.
  static double unit(int64_t power) {
    constexpr double kUnits[] = {1, 0x1p-256, 0x1p-512, 0x1p-768};
    return power < 4 ? kUnits[power] : 0;
  }

  // p(k | j) of all outputs of a source.
  void find_probs(const float *outputs, CtcSource &source) {
    const int64_t length = source.length;
    vectors_.reserve(length);
    selection_.clear(length);
    for (int64_t j = 0; j < length; ++j) {
      vectors_.put(j, padded_line(line_, outputs + j * net_.M, net_.M));
      selection_.add(vectors_, j);
    }
    source.probs.reserve(length * width_);
    net_.ctc.apply(selection_, source.probs.at(0));
    for (int64_t j = 0; j < length; ++j) {
      normalize(source.probs.at(j * width_));
      peephole::poll(net_.V * 8);
    }
  }

  // z becomes softmax(z).
  void normalize(float *z) const {
    float most = z[0];
    for (int64_t i = 1; i < net_.V; ++i) most = z[i] > most ? z[i] : most;
    double total = 0;
    for (int64_t i = 0; i < net_.V; i += L) {
      store(z + i, exponential<float>(load(z + i, net_.V - i) - splat(most)));
      for (int64_t lane = i; lane < i + L && lane < net_.V; ++lane) total += double(z[lane]);
    }
    const float scale = float(1 / total);
    for (int64_t i = 0; i < width_; ++i) z[i] = i < net_.V ? z[i] * scale : 0;
  }

  // The empty prefix: all outputs are blank.
  void begin(const CtcSource &source, const CtcRow &row) {
    places_[turn_].reserve(row.first_place + source.length + 1);
    CtcPlace *to = places_[turn_].at(row.first_place);
    to[0] = {0, 1, 0};
    for (int64_t j = 0; j < source.length; ++j) {
      to[j + 1] = {0, to[j].blank * double(*source.probs.at(j * width_ + kBlank)), to[j].power};
      raise(to[j + 1]);
    }
    num_places_ = row.first_place + source.length + 1;
  }

  // Keeps a place's numbers away from the smallest that there are.
  static void raise(CtcPlace &place) {
    if (place.symbol >= kUnit || place.blank >= kUnit || place.is_empty()) return;
    place.symbol *= 1 / kUnit;
    place.blank *= 1 / kUnit;
    ++place.power;
  }

  // The paths after which the next output may be the first of a symbol: all, but an equal one follows blank.
  static double before(const CtcPlace &place, bool is_repeated) {
    return is_repeated ? place.blank : place.symbol + place.blank;
  }

  // The row's prefix with one more symbol, from the places of the prefix without it.
  void extend(const CtcSource &source, int32_t symbol, const CtcPlace *from, CtcRow &row, CtcPlace *to) {
    const bool is_repeated = symbol == row.last;
    const float *probs = source.probs.at(0);
    double total = 0;
    int64_t power = 0;  // of the total
    to[0] = {0, 0, from[0].power};
    for (int64_t j = 0; j < source.length; ++j) {
      const double emitted = symbol == kBlank ? 0 : double(probs[j * width_ + symbol]), blank = double(probs[j * width_ + kBlank]);
      CtcPlace now = to[j];
      double started = before(from[j], is_repeated);
      if (started > 0 && now.is_empty()) now.power = from[j].power;
      if (started > 0 && from[j].power < now.power) {
        const double scale = unit(now.power - from[j].power);
        now = {now.symbol * scale, now.blank * scale, from[j].power};
      }
      started *= started > 0 ? unit(from[j].power - now.power) * emitted : 0;
      add(started, now.power, total, power);
      to[j + 1] = {now.symbol * emitted + started, (now.blank + now.symbol) * blank, now.power};
      raise(to[j + 1]);
    }
    if (row.prefix > -HUGE_VAL) row.prefix = total > 0 ? std::log(total) + kLog * double(power) : -HUGE_VAL;
    row.last = symbol;
  }

  // Adds value · 2^(-256 value_power) to total · 2^(-256 power).
  static void add(double value, int64_t value_power, double &total, int64_t &power) {
    if (value == 0) return;
    if (total == 0 || value_power < power) {
      total *= total == 0 ? 0 : unit(power - value_power);
      power = value_power;
    }
    total += value * unit(value_power - power);
  }

  // (35) of every symbol, and of </s>.
  void predict(const CtcSource &source, const CtcRow &row, const CtcPlace *places, float *to) {
    if (row.prefix == -HUGE_VAL) {
      for (int64_t v = 0; v < width_; ++v) to[v] = 0;
      return;
    }
    const int64_t length = source.length;
    int64_t first = 0;
    while (first < length && places[first].is_empty()) ++first;
    int64_t power = places[first].power;  // the least
    for (int64_t j = first; j < length; ++j)
      if (!places[j].is_empty() && places[j].power < power) power = places[j].power;
    weights_.reserve(length);
    double repeated = 0;
    int64_t repeated_power = 0;
    for (int64_t j = first; j < length; ++j) {
      *weights_.at(j) = places[j].is_empty() ? 0 : before(places[j], false) * unit(places[j].power - power);
      add(places[j].blank * double(*source.probs.at(j * width_ + row.last)), places[j].power, repeated, repeated_power);
    }
    sums_.reserve(width_);
    multiply(source, first);
    for (int64_t v = 0; v < net_.V; ++v) to[v] = log_ratio(*sums_.at(v), power, row);
    if (row.last != kBlank) to[row.last] = log_ratio(repeated, repeated_power, row);
    to[kBlank] = kNoPath;
    to[PEEPHOLE_EOS] = log_ratio(before(places[length], false), places[length].power, row);
  }

  // log of value · 2^(-256 power) over the prefix's probability.
  static float log_ratio(double value, int64_t power, const CtcRow &row) {
    if (!(value > 0)) return kNoPath;
    const double found = std::log(value) + kLog * double(power) - row.prefix;
    return found > 0 ? 0 : found < double(kNoPath) ? kNoPath : float(found);
  }

  // sums[v] = Σ_j weights[j] p(v | j), from output `first` on.
  void multiply(const CtcSource &source, int64_t first) {
    typedef float Half __attribute__((vector_size(kVectorBytes / 2)));
    for (int64_t v = 0; v < width_; v += kColumns * LD) {
      const int columns = int(width_ - v < kColumns * LD ? (width_ - v) / LD : kColumns);
      Vector<double> sums[kColumns] = {};
      for (int64_t j = first; j < source.length; ++j) {
        const Vector<double> weight = splat(*weights_.at(j));
        const float *probs = source.probs.at(j * width_ + v);
        for (int c = 0; c < columns; ++c) {
          Half half;
          std::memcpy(&half, probs + c * LD, sizeof half);
          sums[c] = fma(weight, __builtin_convertvector(half, Vector<double>), sums[c]);
        }
      }
      for (int c = 0; c < columns; ++c) store(sums_.at(v + c * LD), sums[c]);
    }
  }
};

}  // namespace
