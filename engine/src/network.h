// A model's weights as they stand in its file, and what a search asks of a model once they are packed. Plain data and
// virtual calls only: this is the border between code compiled once and code compiled for each instruction set, and an
// inline function that both sides contain could be taken from the wrong one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace peephole {

enum class Number : int32_t { kFloat32, kBfloat16, kInt8 };

// A matrix in a file, row-major, maybe unaligned. Row o of an int8 matrix is multiplied with scales[o].
struct MatrixView {
  const unsigned char *numbers = nullptr, *scales = nullptr;
  Number number = Number::kFloat32;
  int64_t rows = 0, columns = 0;
};

// Weights of a layer in one direction. LSTM: gates i, f, g, o and one bias; GRU: r, z, n and two.
struct LayerView {
  MatrixView input, hidden, peephole;  // (4H, I), (4H, H), (3H, H) with full peepholes; GRU: 3H
  MatrixView diagonal;                 // (3, H) with diagonal ones
  MatrixView bias, bias_hidden;        // (1, 4H); GRU: (1, 3H) each
};

struct LinearView {
  MatrixView weight, bias;  // (O, I), (1, O)
};

enum class Context : int32_t { kAttention, kLast, kMean };
enum class Alignment : int32_t { kAdditive, kDot, kGeneral };

struct NetworkView {
  bool gru;
  int32_t form;  // enum peephole_form
  int64_t hidden_size, encoder_size, embedding_size, encoder_layers, decoder_layers, directions;
  Context context;
  Alignment alignment;
  Number number;  // what products multiply
  MatrixView source_embedding, target_embedding;  // (V, E)
  const LayerView *encoder;                       // layer * directions + direction
  const LayerView *decoder;
  const LinearView *bridge_hidden, *bridge_cell;  // one for each decoder layer; NULL: states are copied, (9)
  MatrixView weight_query, weight_keys, vector;   // W_s, W_h (or W of general attention), v (1, A)
  LinearView readout, output;
};

// The rows of one worker's search, one hypothesis each, and the sources they read.
class Decoder {
 public:
  virtual ~Decoder();
  // Reads n sources of `lengths` symbols into places; adds a row for each, with the state before its first symbol, and
  // returns the number of the first.
  virtual int64_t read(int64_t n, const int32_t *const *sources, const int64_t *lengths, const int64_t *places) = 0;
  // Feeds a symbol to each of n rows, (14): row r follows from row parents[r] of before, and takes its place.
  virtual void step(int64_t n, const int64_t *parents, const int32_t *symbols) = 0;
  // log p of every symbol given row r, V of them; the search may change them.
  virtual float *log_probs(int64_t row) = 0;
  // α of (16) that row r was computed with, as many as its source has symbols; NULL for a fixed context.
  virtual const float *attention(int64_t row) const = 0;
};

// A model packed for an instruction set; any number of threads may read it.
class Network {
 public:
  virtual ~Network();
  virtual Decoder *new_decoder() const = 0;
};

// Memory that begins on 64 bytes. Throws std::bad_alloc.
void *allocate(size_t bytes);
void release(void *memory);

// What is compiled once for each instruction set.
struct InferenceKernels {
  Network *(*pack)(const NetworkView &view);
  // The k largest of n numbers, largest first, of equals the first; returns how many there are above -infinity.
  int64_t (*largest)(const float *numbers, int64_t n, int64_t k, int64_t *indices);
};

}  // namespace peephole
