// Training of location-aware attention, (21), and of attention with coverage, (22). Both are Located*<Rows, Kind>; a
// kind computes the features:
//   channels(p), stride(p)          C, and the numbers from one position's features to the next's
//   Kind(rows)                      takes what backward reads from rows.kept, else from rows.scratch
//   pack()                          packs its weights
//   find(at, b, memory)             the features of a row in forward, in `memory` (T, stride) or its own
//   read(at, b, memory)             the same in backward
//   Gradients(rows, kind, d)        clear(); step(at, b, length, features, d_alpha) adds the gradients of its weights,
//                                   given those of a row's features, and turns d_alpha (T), what later steps add to the
//                                   gradient of α_t, into that of α_{t-1}; finish()
#pragma once

#include "cell/attention_located.h"
#include "cell/attention_query.h"

namespace {

// Filters of the last step's weights; α_0 is uniform.
template <class Rows>
class LocationKind {
 public:
  using T = typename Rows::Number;
  static int64_t channels(const peephole_decoder &p) { return p.channels; }
  static int64_t stride(const peephole_decoder &p) { return in_lanes<T>(p.channels); }
  LocationKind(Rows &decoder, const SavedWeights<Rows> &of_steps)
      : rows(decoder), saved(of_steps), C(rows.p.channels), R(rows.p.filter_width), width(in_lanes<T>(C)) {
    filters = decoder.scratch.template take<T>(R * padded<T>(C));
    uniform = decoder.scratch.template take<T>(rows.p.batch * rows.S);
  }

  void pack() const {
    const auto *from = static_cast<const T *>(rows.p.filters);
    for (int64_t r = 0; r < R; ++r)
      for (int64_t c = 0; c < width; ++c) filters[r * width + c] = c < C ? from[c * R + r] : 0;
  }
  Features<T> find(int64_t at, int64_t b, T *memory) const {
    filter_weights(before(at, b), rows.p.source_lengths[b], filters, R, C, memory);
    return {memory, width, C};
  }
  Features<T> read(int64_t at, int64_t b, T *memory) const { return find(at, b, memory); }

  class Gradients {
   public:
    Gradients(Rows &decoder, const LocationKind &features, const peephole_decoder_gradients &given)
        : rows(decoder), kind(features), d(given),
          filters(decoder.scratch.template take<T>(rows.p.batch * kind.R * padded<T>(kind.C))) {}
    void clear() const { std::memset(filters, 0, size_t(rows.p.batch * kind.R * kind.width) * sizeof(T)); }
    void step(int64_t at, int64_t b, int64_t length, const T *features, T *d_alpha) const {
      filter_gradient(kind.before(at, b), length, kind.filters, kind.R, kind.C, features,
                      filters + b * kind.R * kind.width, d_alpha);
    }
    void finish() const {
      auto *to = static_cast<T *>(d.filters);
      for (int64_t r = 0; r < kind.R; ++r)
        for (int64_t c = 0; c < kind.C; ++c) {
          T sum = 0;
          for (int64_t b = 0; b < rows.p.batch; ++b) sum += filters[(b * kind.R + r) * kind.width + c];
          to[c * kind.R + r] = sum;
        }
    }

   private:
    const Rows &rows;
    const LocationKind &kind;
    const peephole_decoder_gradients &d;
    T *filters;  // (B, R, Cp): gradient of Fᵀ, by sequence
  };

 private:
  const Rows &rows;
  const SavedWeights<Rows> &saved;
  const int64_t C, R, width;
  T *filters;  // Fᵀ, (R, Cp)
  T *uniform;  // (B, T): α_0

  const T *before(int64_t at, int64_t b) const {
    const int64_t previous = rows.walk.previous[at];
    if (previous >= rows.p.batch) return saved.of(previous - rows.p.batch);
    const int64_t length = rows.p.source_lengths[b];
    T *to = uniform + b * rows.S;
    for (int64_t j = 0; j < length; ++j) to[j] = 1 / T(length);
    return to;
  }
};

// The coverage κ_t, the sum of the weights of the steps before; κ_1 = 0.
template <class Rows>
class CoverageKind {
 public:
  using T = typename Rows::Number;
  static int64_t channels(const peephole_decoder &) { return 1; }
  static int64_t stride(const peephole_decoder &) { return 1; }
  CoverageKind(Rows &decoder, const SavedWeights<Rows> &of_steps)
      : rows(decoder), saved(of_steps),
        coverage(decoder.kept.template take<T>(rows.p.batch * rows.p.steps * rows.S)) {}

  void pack() const {}
  Features<T> find(int64_t at, int64_t b, T *) const {
    const int64_t previous = rows.walk.previous[at] - rows.p.batch, length = rows.p.source_lengths[b];
    T *to = coverage + at * rows.S;
    for (int64_t j = 0; j < length; ++j)
      to[j] = previous < 0 ? 0 : coverage[previous * rows.S + j] + saved.of(previous)[j];
    return {to, 1, 1};
  }
  Features<T> read(int64_t at, int64_t, T *) const { return {coverage + at * rows.S, 1, 1}; }

  class Gradients {
   public:
    Gradients(Rows &, const CoverageKind &, const peephole_decoder_gradients &) {}
    void clear() const {}
    void step(int64_t, int64_t, int64_t length, const T *features, T *d_alpha) const {
      for (int64_t j = 0; j < length; ++j) d_alpha[j] += features[j];
    }
    void finish() const {}
  };

 private:
  const Rows &rows;
  const SavedWeights<Rows> &saved;
  T *coverage;  // (rows, T)
};

// Uᵀ, (C, Ap), for both passes.
template <class Rows, class Kind>
struct Locations {
  using T = typename Rows::Number;
  const Rows &rows;
  const int64_t C;
  T *packed;
  explicit Locations(Rows &decoder)
      : rows(decoder), C(Kind::channels(rows.p)), packed(decoder.scratch.template take<T>(C * padded<T>(rows.A))) {}
  void pack(int64_t block) const {
    const auto *from = static_cast<const T *>(rows.p.weight_location);
    for (int64_t c = 0; c < C; ++c)
      for (int64_t a = block * kLanes<T>; a < (block + 1) * kLanes<T>; ++a)
        packed[c * rows.key_units + a] = a < rows.A ? from[a * C + c] : 0;
  }
};

template <class Rows, class Kind>
class LocatedForward {
 public:
  using T = typename Rows::Number;
  explicit LocatedForward(Rows &decoder)
      : rows(decoder), saved(decoder), queries(decoder), kind(decoder, saved),
        query(decoder, queries, decoder.p.attention_bias), locations(decoder),
        features(decoder.scratch.template take<T>(rows.p.batch * rows.S * padded<T>(Kind::channels(rows.p)))) {}

  int64_t blocks() const { return query.blocks(); }
  void pack(int64_t block) const {
    query.pack(block);
    locations.pack(block);
    if (block == 0) kind.pack();
  }
  void begin(int64_t part, int64_t step) const { query.begin(part, step); }
  void weigh(int64_t at, int64_t b) const {
    const Features<T> found = kind.find(at, b, features + b * rows.S * Kind::stride(rows.p));
    weigh_located(saved.source(b), static_cast<const T *>(rows.p.vector), queries.of(at), found, locations.packed,
                  saved.of(at));
  }
  const T *alpha(int64_t at) const { return saved.of(at); }
  Vector<T> context(int64_t at, int64_t b, int64_t unit) const { return saved.source(b).context(saved.of(at), unit); }

 private:
  Rows &rows;
  const SavedWeights<Rows> saved;
  const SavedQueries<Rows> queries;
  const Kind kind;
  const QueryForward<Rows> query;
  const Locations<Rows, Kind> locations;
  T *features;  // (B, T, Cp)
};

template <class Rows, class Kind>
class LocatedBackward {
 public:
  using T = typename Rows::Number;
  using O = typename Rows::Operand;
  LocatedBackward(Rows &decoder, const peephole_decoder_gradients &given)
      : rows(decoder), d(given), saved(decoder), queries(decoder), kind(decoder, saved), to(decoder, given),
        query(decoder, given), locations(decoder), d_kind(decoder, kind, given) {
    const int64_t B = rows.p.batch, S = rows.S, keys = padded<T>(rows.A), parts = rows.walk.parts;
    const int64_t channels = padded<T>(locations.C);
    vectors = rows.scratch.template take<T>(B * keys);
    weights_of_u = rows.scratch.template take<T>(B * locations.C * keys);
    later = rows.scratch.template take<T>(B * S);
    alphas = rows.scratch.template take<T>(parts * S);
    sums = rows.scratch.template take<T>(parts * S * keys);
    features = rows.scratch.template take<T>(parts * S * channels);
    d_features = rows.scratch.template take<T>(parts * S * channels);
  }

  int64_t blocks() const { return query.blocks(); }
  void pack(int64_t block) const {
    query.pack(block);
    locations.pack(block);
    if (block == 0) kind.pack();
  }
  void clear() const {
    to.clear();
    query.clear();
    d_kind.clear();
    std::memset(vectors, 0, size_t(rows.p.batch * rows.key_units) * sizeof(T));
    std::memset(weights_of_u, 0, size_t(rows.p.batch * locations.C * rows.key_units) * sizeof(T));
    std::memset(later, 0, size_t(rows.p.batch * rows.S) * sizeof(T));
    std::memset(d_features, 0, size_t(rows.walk.parts * rows.S * Kind::stride(rows.p)) * sizeof(T));
  }
  const T *state_gradient() const { return query.state_gradient(); }

  void step(int64_t part, int64_t step, const T *contexts) const {
    const Walk &walk = rows.walk;
    for (int64_t q = 0; q < walk.alive(part, step); ++q)
      through_row(part, walk.row(part, step, q), walk.rank(part, q), contexts + walk.rank(part, q) * rows.memory_units);
    query.step(part, step);
  }

  void chunk(int64_t) const {}
  void weights(int64_t block, const O *hidden_tiles, GradientMemory<T, O> memory) const {
    query.weights(block, hidden_tiles, memory);
  }
  void finish() const {
    const int64_t units = rows.key_units, C = locations.C;
    sum_sequences(vectors, rows.p.batch, units, rows.A, static_cast<T *>(d.vector));
    auto *u = static_cast<T *>(d.weight_location);
    for (int64_t c = 0; c < C; ++c) {
      sum_sequences(weights_of_u + c * units, rows.p.batch, C * units, units, vectors);
      for (int64_t a = 0; a < rows.A; ++a) u[a * C + c] = vectors[a];
    }
    d_kind.finish();
  }

 private:
  Rows &rows;
  const peephole_decoder_gradients &d;
  const SavedWeights<Rows> saved;
  const SavedQueries<Rows> queries;
  const Kind kind;
  const SourceGradients<Rows> to;
  const QueryBackward<Rows> query;
  const Locations<Rows, Kind> locations;
  const typename Kind::Gradients d_kind;
  T *vectors;       // (B, Ap): gradient of v, by sequence
  T *weights_of_u;  // (B, C, Ap): gradient of Uᵀ, by sequence
  T *later;         // (B, T): what later steps add to the gradient of a step's weights, by rank
  // For each part:
  T *alphas;                 // (T): gradient of a row's weights
  T *sums;                   // (T, Ap): of its z_j
  T *features, *d_features;  // (T, Cp)

  void through_row(int64_t part, int64_t at, int64_t rank, const T *d_context) const {
    const int64_t b = rows.walk.order[rank], S = rows.S, stride = Kind::stride(rows.p), units = rows.key_units;
    const Source<T> source = saved.source(b);
    const Features<T> found = kind.read(at, b, features + part * S * stride);
    const T *given = to.weights(at);
    T *d_alpha = alphas + part * S, *own_later = later + rank * S, *own_sums = sums + part * S * units;
    T *energies = to.energies_of(rank), *d_query = to.query_of(rank), *d_found = d_features + part * S * stride;
    for (int64_t j = 0; j < source.length; ++j) d_alpha[j] = given ? own_later[j] + given[j] : own_later[j];
    context_gradient(source, {0, rows.M}, saved.of(at), d_context, d_alpha, to.memory(b), energies);
    located_gradient(source, static_cast<const T *>(rows.p.vector), queries.of(at), found, locations.packed, energies,
                     to.keys(b), vectors + b * units, d_query, own_sums);
    feature_gradient(source.length, rows.A, found, locations.packed, own_sums, weights_of_u + b * locations.C * units,
                     d_found);
    d_kind.step(at, b, source.length, d_found, own_later);
    query.keep(at, d_query);
  }
};

struct LocationTraining {
  template <class Rows>
  using Forward = LocatedForward<Rows, LocationKind<Rows>>;
  template <class Rows>
  using Backward = LocatedBackward<Rows, LocationKind<Rows>>;
};

struct CoverageTraining {
  template <class Rows>
  using Forward = LocatedForward<Rows, CoverageKind<Rows>>;
  template <class Rows>
  using Backward = LocatedBackward<Rows, CoverageKind<Rows>>;
};

}  // namespace
