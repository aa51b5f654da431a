// The output layer (10) and its loss (11), (12), with gradients, over chunks of rows: only the logits of one
// chunk are stored.
//
// Logits are stored transposed, a panel of rows side by side in vectors: W needs no packing, a softmax needs no sum across
// lanes, and the number of symbols need not be a multiple of the lanes. With a consistency loss the two rows of a pair are
// neighbours. With a teacher the gold distribution, (69), has weights at several symbols; all else stays.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "train/consistency_loss.h"
#include "train/copying.h"
#include "train/linear.h"

namespace {

template <class T, class O>
class OutputLoss {
 public:
  OutputLoss(const peephole_output_loss &problem, const peephole_output_loss_gradients *gradients)
      : p(problem), d(gradients), s(problem, gradients != nullptr, problem.scratch) {}

  // Returns whether all targets and all that a teacher gives are symbols, and of a consistency loss the targets of both rows
  // of every pair the same.
  bool run() {
    if (!find_rows()) return false;
    prepare();
    for (chunk = 0; chunk < N; chunk += s.chunk) {
      chunk_end = chunk + s.chunk < N ? chunk + s.chunk : N;
      int64_t panels = blocks_of(chunk_end - chunk, kPanel);
      for_tasks(p.threads, panels, [this](int64_t task, int worker) {
        Columns<T> panel{chunk + task * kPanel, N};
        predict(panel, worker);
        if (d) readouts(panel, worker);
      });
      if (!d) continue;
      int64_t tiles = blocks_of(V, kTileRows<O>), most = blocks_of(tiles, 4 * p.threads);
      int64_t size = (most < kTaskTiles ? most : kTaskTiles) * kTileRows<O>;
      for_tasks(p.threads, blocks_of(V, size), [=](int64_t task, int) {
        weights(task * size, (task + 1) * size < V ? (task + 1) * size : V);
      });
    }
    double sum = 0;
    for (int64_t n = 0; n < N; ++n) sum += s.losses[n];
    *static_cast<T *>(p.loss) = T(sum);
    return true;
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr int64_t kPanel = kPanelVectors * L, kMostPanel = kMostPanelBytes / int64_t(sizeof(T));
  static constexpr int64_t kTaskTiles = 48 / kTileRows<O>, kSumBlock = 32;
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const peephole_output_loss &p;
  const peephole_output_loss_gradients *d;
  OutputLossScratch<T, O> s;
  const int64_t H = p.hidden_size, V = p.symbols;
  int64_t N = 0;                     // real rows
  int64_t chunk = 0, chunk_end = 0;  // rows [chunk, chunk_end) are computed now

  static const T *in(const void *array) { return static_cast<const T *>(array); }
  static T *to(void *array) { return static_cast<T *>(array); }
  const T *readout(int64_t n) const { return in(p.readouts) + s.places[n] * H; }
  T *logits(Columns<T> panel) const { return s.logits + (panel.first - chunk) * V; }
  static constexpr bool kCopies = !std::is_same_v<O, T>;  // numbers are converted to operands
  // A row of W, and the gradients of the logits of a panel, as operands.
  const O *weight_row(int64_t symbol) const {
    if constexpr (kCopies) return s.lines + symbol * in_lanes<T>(H);
    else return in(p.weight) + symbol * H;
  }
  const O *gradients(Columns<T> panel) const {
    if constexpr (kCopies) return s.gradients + (panel.first - chunk) * V;
    else return logits(panel);
  }
  // The target of a real row, and whether it can be generated.
  int64_t target(int64_t n) const { return p.targets[s.places[n]]; }
  bool is_known(int64_t n) const { return target(n) < V; }
  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

  bool has_pairs() const { return p.consistency_loss > 0; }

  // The shares of the gold distribution: at the target, evenly at all symbols, and at those that a teacher gives.
  double gold_share() const { return (1 - p.teacher_weight) * (1 - p.label_smoothing); }
  double even_share() const { return (1 - p.teacher_weight) * p.label_smoothing; }

  // Calls visit(symbol, share) for the symbols that the teacher of a real row gives.
  template <class Visit>
  void for_taught(int64_t n, Visit &&visit) const {
    if (!(p.teacher_weight > 0)) return;
    const int64_t first = position_of(p, s.places[n]) * p.num_taught;
    for (int64_t k = first; k < first + p.num_taught; ++k)
      visit(int64_t(p.taught_symbols[k]), p.teacher_weight * double(p.taught_shares[k]));
  }

  bool find_rows() {
    const int64_t half = p.rows / 2;
    if (has_pairs() && !(p.rows == 2 * half && std::equal(p.targets, p.targets + half, p.targets + half))) return false;
    for (int64_t i = 0; i < p.rows; ++i) {
      const int64_t place = has_pairs() ? i / 2 + i % 2 * half : i;
      if (p.targets[place] < 0 || (!p.gates && p.targets[place] >= V)) return false;
      if (p.targets[place] != p.padding) {
        s.places[N++] = place;
        if (!teaches_symbols(place)) return false;
      } else if (d) {
        std::memset(to(d->readouts) + place * H, 0, size_t(H) * sizeof(T));
        if (p.gates) clear_copy<T>(p, *d, place);
      }
    }
    return true;
  }

  // Whether what a teacher gives for a real row are symbols.
  bool teaches_symbols(int64_t row) const {
    if (!(p.teacher_weight > 0)) return true;
    const int32_t *taught = p.taught_symbols + position_of(p, row) * p.num_taught;
    return std::all_of(taught, taught + p.num_taught, [this](int32_t symbol) { return symbol >= 0 && symbol < V; });
  }

  void prepare() {
    if (d || kCopies)
      for_tasks(p.threads, blocks_of(V, kDepthBlock), [this](int64_t task, int) {
        int64_t block = task * kDepthBlock, depth = least(kDepthBlock, V - block);
        for (int64_t symbol = block; kCopies && symbol < block + depth; ++symbol)
          as_operands(s.lines + symbol * in_lanes<T>(H), in(p.weight) + symbol * H, H);
        for (int64_t k = 0; d && k < depth; k += kStepRows)
          pack_tiles(s.weight + block * tiled<O>(H), H, depth, k, [=](int64_t row) { return weight_row(block + row); });
      });
    if (N || !d) return;
    std::memset(d->weight, 0, size_t(V * H) * sizeof(T));
    std::memset(d->bias, 0, size_t(V) * sizeof(T));
  }

  // (10), (11): the logits of a panel of rows and their loss. With gradients, replaces the logits by theirs.
  void predict(Columns<T> panel, int worker) {
    int64_t width = panel.width();
    int vectors = panel.vectors();
    T *z = logits(panel);
    O *columns = s.columns + worker * in_groups<O>(H) * kMostPanel;
    pack_columns(columns, vectors, H, in_groups<O>(H), [=](int v, int lane) {
      return lane < panel.in(v) ? readout(panel.first + v * L + lane) : nullptr;
    });
    T most[kPanel], scale[kPanel];
    multiply(panel, columns, z, most);
    double total[kPanel] = {}, spread[kPanel] = {}, gold[kPanel], taught[kPanel] = {};
    int64_t count = least(width, N - panel.first);
    for (int64_t n = 0; n < count; ++n) {
      gold[n] = is_known(panel.first + n) ? z[target(panel.first + n) * width + n] : 0;
      for_taught(panel.first + n, [&](int64_t symbol, double share) { taught[n] += share * double(z[symbol * width + n]); });
    }
    for (int64_t begin = 0; begin < V; begin += kSumBlock) {
      Vector<T> powers[kPanelVectors] = {}, plain[kPanelVectors] = {};
      for (int64_t symbol = begin; symbol < least(V, begin + kSumBlock); ++symbol)
        for (int v = 0; v < vectors; ++v) {
          T *at = z + symbol * width + v * L;
          Vector<T> power = exponential<T>(load(at) - load(most + v * L));
          plain[v] += load(at);
          powers[v] += power;
          if (!has_pairs()) store(at, power);
        }
      for (int v = 0; v < vectors; ++v)
        for (int lane = 0; lane < L; ++lane) {
          total[v * L + lane] += powers[v][lane];
          spread[v * L + lane] += plain[v][lane];
        }
    }
    double generated[kPanel];  // the share of log p's gradient that reaches log p_vocab: without copying all of it
    for (int64_t n = 0; n < count; ++n) {
      const double norm = std::log(total[n]) + most[n];
      double wanted = gold_share() * gold[n] + taught[n];
      generated[n] = 1;
      if (p.gates) {
        const int64_t place = s.places[panel.first + n];
        const Mixture<T> found(p, place, is_known(panel.first + n) ? gold[n] - norm : -kInfinity);
        wanted = gold_share() * (found.log_p + norm);
        generated[n] = found.generated;
        if (d) found.gradients(*d);
      }
      if (even_share() > 0) wanted += even_share() * spread[n] / double(V);  // else a logit may be -∞
      s.losses[panel.first + n] = norm - wanted;
    }
    const T even = T(even_share() / double(V));
    if (has_pairs()) {
      T norms[kPanel];
      double divergences[kPanel];
      for (int64_t n = 0; n < width; ++n) norms[n] = T(std::log(total[n]) + most[n]);
      find_divergences<T>(z, V, vectors, norms, divergences);
      for (int64_t n = 0; n < count; ++n) s.losses[panel.first + n] += p.consistency_loss / 2 * divergences[n];
      if (d) consistent_gradients<T>(z, V, vectors, norms, divergences, T(p.consistency_loss / 2), even);
    }
    if (!d) return;
    for (int64_t n = 0; n < width; ++n) {
      const bool copies = p.gates && n < count;
      scale[n] = T((copies ? gold_share() * generated[n] + even_share() : 1) / total[n]);
    }
    for (int64_t symbol = 0; symbol < V && !has_pairs(); ++symbol)
      for (int v = 0; v < vectors; ++v) {
        T *at = z + symbol * width + v * L;
        store(at, fma(load(at), load(scale + v * L), -splat<T>(even)));
      }
    for (int64_t n = 0; n < count; ++n) {
      if (is_known(panel.first + n)) z[target(panel.first + n) * width + n] -= T(gold_share() * generated[n]);
      for_taught(panel.first + n, [&](int64_t symbol, double share) { z[symbol * width + n] -= T(share); });
    }
    if constexpr (kCopies) copy_operands(s.gradients + (panel.first - chunk) * V, z, V * width, V * width);
  }

  // z = W r + b for a panel of rows, and the largest logit of each.
  void multiply(Columns<T> panel, const O *columns, T *z, T *most) {
    int64_t width = panel.width();
    Vector<T> largest[kPanelVectors];
    for (auto &lanes : largest) lanes = splat<T>(-std::numeric_limits<T>::infinity());
    for_tiles<kTileRows<O>>(V, [&](int64_t first, int64_t n) {
      const O *rows[kTileRows<O>];
      for (int64_t r = 0; r < n; ++r) rows[r] = weight_row(first + r);
      tile_of<O>(n, panel.vectors())(in_groups<O>(H), rows, columns, nullptr, 0, z + first * width, width);
      for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < panel.vectors(); ++v) {
          T *at = z + (first + r) * width + v * L;
          Vector<T> sum = load(at) + splat<T>(in(p.bias)[first + r]);
          largest[v] = sum > largest[v] ? sum : largest[v];
          store(at, sum);
        }
    });
    for (int v = 0; v < panel.vectors(); ++v) store(most + v * L, largest[v]);
  }

  // Gradient of a panel of rows of r, by blocks of symbols; and packs these rows for `weights`.
  void readouts(Columns<T> panel, int worker) {
    int64_t width = panel.width(), tiles = blocks_of(H, kTileRows<O>);
    T *sums = s.readouts + worker * most_tiled<O>(H) * kMostPanel;
    for (int64_t block = 0; block < V; block += kDepthBlock) {
      int64_t depth = in_steps<O>(least(kDepthBlock, V - block));
      const O *right = symbols(panel, block, depth, worker);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        T part[kTileRows<O> * kPanel], *sum = sums + tile * kTileRows<O> * width;
        outer_tile<O>(panel.vectors(), depth, s.weight + block * tiled<O>(H) + tile * depth * kTileRows<O>, right,
                      block ? part : sum);
        if (block)
          for (int64_t at = 0; at < kTileRows<O> * width; at += L) store(sum + at, load(sum + at) + load(part + at));
      }
    }
    for (int64_t unit = 0; unit < H; unit += L)
      for (int v = 0; v < panel.vectors(); ++v) {
        Vector<T> square[L];
        for (int i = 0; i < L; ++i)
          square[i] = unit + i < H ? load(sums + (unit + i) * width + v * L) : Vector<T>{};
        transpose<T>(square);
        for (int lane = 0; lane < L && lane < panel.in(v); ++lane)
          store(to(d->readouts) + s.places[panel.first + v * L + lane] * H + unit, square[lane], H - unit);
      }
    int64_t end = least(panel.first + width, N), block = block_of(panel.first);
    pack_rows(packed_rows(block), H, block_depth(block), panel.first - block, in_groups<O>(end - block),
              [=](int64_t k) { return block + k < end ? readout(block + k) : nullptr; });
  }

  // Gradients of the logits of a panel and of `depth` symbols from `block` on, symbol by symbol in groups.
  const O *symbols(Columns<T> panel, int64_t block, int64_t depth, int worker) const {
    const T *z = logits(panel) + block * panel.width();
    if constexpr (kCopies) {
      O *packed = s.symbols + worker * kDepthBlock * kMostPanel;
      pack_rows(packed, panel.width(), depth, 0, depth,
                [=](int64_t k) { return block + k < V ? z + k * panel.width() : nullptr; });
      return packed;
    } else {
      return z;
    }
  }

  int64_t block_of(int64_t n) const { return n - (n - chunk) % kDepthBlock; }
  int64_t block_depth(int64_t block) const { return in_groups<O>(least(kDepthBlock, chunk_end - block)); }
  O *packed_rows(int64_t block) const { return s.rows + (block - chunk) * padded<T>(H); }

  // Gradients of the rows [begin, end) of W and of b += those of the chunk's rows.
  void weights(int64_t begin, int64_t end) {
    for (int64_t symbol = begin; symbol < end; ++symbol) bias(symbol);
    for (int64_t block = chunk; block < chunk_end; block += kDepthBlock)
      for_panels<T>(H, [&](Columns<T> units) {
        const O *right = packed_rows(block) + units.first * block_depth(block);
        for_tiles<kTileRows<O>>(end - begin, [&](int64_t first, int64_t n) {
          T sums[kTileRows<O> * kPanel];
          T *result = to(d->weight) + (begin + first) * H + units.first;
          for (int64_t r = 0; r < n; ++r)
            for (int v = 0; v < units.vectors(); ++v)
              store(sums + r * units.width() + v * L,
                    block ? load(result + r * H + v * L, units.in(v)) : Vector<T>{});
          add_block(block, begin + first, n, right, units, sums);
          for (int64_t r = 0; r < n; ++r)
            for (int v = 0; v < units.vectors(); ++v)
              store(result + r * H + v * L, load(sums + r * units.width() + v * L), units.in(v));
        });
      });
  }

  // sums += gradients of the logits of n symbols · r, over a block of rows.
  void add_block(int64_t block, int64_t symbol, int64_t n, const O *right, Columns<T> units, T *sums) {
    for (int64_t row = block; row < block + block_depth(block); row += kPanel) {
      Columns<T> panel{row, N};
      const O *left[kTileRows<O>];
      for (int64_t r = 0; r < n; ++r) left[r] = gradients(panel) + (symbol + r) * panel.width();
      tile_of<O>(n, units.vectors())(in_groups<O>(least(panel.width(), N - row)), left,
                                     right + (row - block) * units.width(), sums, units.width(), sums, units.width());
    }
  }

  // Sums lane by lane over all chunks, since the end of a chunk depends on the number of threads.
  void bias(int64_t symbol) {
    Vector<T> sum = chunk ? load(s.bias + symbol * L) : Vector<T>{};
    for (int64_t row = chunk; row < chunk_end; row += kPanel) {
      Columns<T> panel{row, N};
      for (int v = 0; v < panel.vectors(); ++v)
        sum += load(logits(panel) + symbol * panel.width() + v * L, panel.in(v));
    }
    store(s.bias + symbol * L, sum);
    if (chunk_end < N) return;
    T total = 0;
    for (int lane = 0; lane < L; ++lane) total += sum[lane];
    to(d->bias)[symbol] = total;
  }
};

}  // namespace
