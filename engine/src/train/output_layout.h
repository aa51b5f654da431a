// The scratch memory of a linear product, and of an output layer with its loss.
#pragma once

#include "simd/weight_gradient.h"

namespace {

constexpr int64_t kMostPanelBytes = 256;  // four of the widest vectors

inline int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

template <class T, class O>
struct LinearScratch {
  Arena arena;
  O *weight;  // packed by pack_columns for forward, by pack_rows for backward
  T *bias;    // (O padded)
  O *left;    // gradient of y, packed by pack_tiles
  O *right;   // x, packed by pack_rows
  O *lines;   // for each thread: some rows of x or of the gradient of y, unless they are operands themselves

  LinearScratch(const peephole_linear &p, bool backward, void *memory) : arena(memory) {
    int64_t K = p.inputs, M = p.outputs, depth = in_groups<O>(backward ? M : K);
    weight = arena.take<O>(depth * padded<T>(backward ? K : M));
    bias = arena.take<T>(backward ? 0 : padded<T>(M));
    left = arena.take<O>(backward ? most_in_steps<O>(p.rows) * most_tiled<O>(M) : 0);
    right = arena.take<O>(backward ? most_in_steps<O>(p.rows) * padded<T>(K) : 0);
    lines = arena.take<O>(std::is_same_v<O, T> ? 0 : p.threads * kStepRows * padded<T>(backward ? M : K));
  }
};

template <class T, class O>
struct OutputLossScratch {
  Arena arena;
  int64_t chunk;    // rows whose logits are stored at the same time
  int64_t *places;  // (N): the real rows
  double *losses;   // (N): of the real rows
  T *logits;        // (chunk / panel, V, panel): of the rows of a panel side by side; then their gradients
  O *columns;       // (threads, H, panel): a panel of r transposed
  O *rows;          // r in panels, block after block of kDepthBlock rows
  O *weight;        // W, packed by pack_tiles, block after block of kDepthBlock symbols
  T *readouts;      // (threads, H in tiles, panel): gradients of a panel of r, transposed
  T *bias;          // (V, L): gradient of b, not yet summed over lanes
  // Unless numbers are operands themselves:
  O *lines;      // (V, H padded): W
  O *gradients;  // as logits: their gradients
  O *symbols;    // (threads, kDepthBlock, panel): gradients of some symbols' logits, packed by pack_rows

  OutputLossScratch(const peephole_output_loss &p, bool backward, void *memory) : arena(memory) {
    constexpr int64_t kPanel = kMostPanelBytes / int64_t(sizeof(T));
    int64_t H = p.hidden_size, V = p.symbols, N = p.rows;
    // Each chunk reads and writes the whole gradient of W, so it has at least 256 rows, however large V is. Few chunks
    // are better, since all threads must finish a chunk before the next.
    constexpr int64_t kLeastRows = 256, kCacheBytes = 8 << 20;
    int64_t panels = kCacheBytes / (V * kMostPanelBytes), least = kLeastRows / kPanel;
    if (!backward) panels = least = 1;
    panels = blocks_of(panels > least ? panels : least, p.threads) * p.threads;
    int64_t needed = blocks_of(N, kPanel);
    chunk = (panels < needed ? panels : needed) * kPanel;
    places = arena.take<int64_t>(N);
    losses = arena.take<double>(N);
    logits = arena.take<T>(chunk * V);
    columns = arena.take<O>(p.threads * in_groups<O>(H) * kPanel);
    rows = arena.take<O>(backward ? chunk * padded<T>(H) : 0);
    weight = arena.take<O>(backward ? most_in_steps<O>(V) * most_tiled<O>(H) : 0);
    readouts = arena.take<T>(backward ? p.threads * most_tiled<O>(H) * kPanel : 0);
    bias = arena.take<T>(backward ? V * padded<T>(1) : 0);
    constexpr bool kCopies = !std::is_same_v<O, T>;
    lines = arena.take<O>(kCopies ? V * padded<T>(H) : 0);
    gradients = arena.take<O>(kCopies && backward ? chunk * V : 0);
    symbols = arena.take<O>(kCopies && backward ? p.threads * kDepthBlock * kPanel : 0);
  }
};

}  // namespace
