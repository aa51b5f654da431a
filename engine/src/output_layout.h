// Where the numbers of a linear product, and of an output layer with its loss, stand in scratch memory.
#pragma once

#include "peephole.h"
#include "walk.h"

namespace {

constexpr int64_t kTaskRows = 96;         // rows of x in one task, at most
constexpr int64_t kMostTileRows = 6;      // kTileRows is at most this
constexpr int64_t kMostPanelBytes = 256;  // four of the widest vectors

inline int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Rows of a left factor padded to whole tiles.
inline int64_t padded_to_tiles(int64_t n) { return n + kMostTileRows - 1; }

template <class T>
struct LinearScratch {
  Arena arena;
  T *weight;        // packed: by pack_columns to go forward, by pack_rows to go backward
  T *bias;          // (O padded)
  T *left, *right;  // gradient of y in tiles, and x in panels: block after block of kDepthBlock rows

  LinearScratch(const peephole_linear &p, bool backward, void *memory) : arena(memory) {
    int64_t K = p.inputs, O = p.outputs, depth = backward ? O : K;
    weight = arena.take<T>(depth * padded<T>(backward ? K : O));
    bias = arena.take<T>(backward ? 0 : padded<T>(O));
    left = arena.take<T>(backward ? p.rows * padded_to_tiles(O) : 0);
    right = arena.take<T>(backward ? p.rows * padded<T>(K) : 0);
  }
};

template <class T>
struct OutputLossScratch {
  Arena arena;
  int64_t chunk;    // rows whose logits exist at the same time
  int64_t *places;  // (N): the real rows
  double *losses;   // (N): of the real rows
  T *logits;        // (chunk / panel, V, panel): of the rows of a panel side by side; then their gradients
  T *columns;       // (threads, H, panel): a panel of r transposed
  T *rows;          // r in panels, block after block of kDepthBlock rows
  T *weight;        // W in tiles, block after block of kDepthBlock symbols
  T *readouts;      // (threads, H in tiles, panel): gradients of a panel of r, transposed
  T *bias;          // (V, L): gradient of b, not yet summed over lanes

  OutputLossScratch(const peephole_output_loss &p, bool backward, void *memory) : arena(memory) {
    constexpr int64_t kPanel = kMostPanelBytes / int64_t(sizeof(T));
    int64_t H = p.hidden_size, V = p.symbols, N = p.rows;
    // Each chunk reads and writes the whole gradient of W, so a chunk has 256 rows though V be large; where V is small
    // there is one chunk, for each ends with all threads waiting for the last.
    constexpr int64_t kLeastRows = 256, kCacheBytes = 8 << 20;
    int64_t panels = kCacheBytes / (V * kMostPanelBytes), least = kLeastRows / kPanel;
    if (!backward) panels = least = 1;
    panels = blocks_of(panels > least ? panels : least, p.threads) * p.threads;
    int64_t needed = blocks_of(N, kPanel);
    chunk = (panels < needed ? panels : needed) * kPanel;
    places = arena.take<int64_t>(N);
    losses = arena.take<double>(N);
    logits = arena.take<T>(chunk * V);
    columns = arena.take<T>(p.threads * H * kPanel);
    rows = arena.take<T>(backward ? chunk * padded<T>(H) : 0);
    weight = arena.take<T>(backward ? V * padded_to_tiles(H) : 0);
    readouts = arena.take<T>(backward ? p.threads * padded_to_tiles(H) * kPanel : 0);
    bias = arena.take<T>(backward ? V * padded<T>(1) : 0);
  }
};

}  // namespace
