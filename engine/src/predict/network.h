// The interface between the search and a packed model. It has virtual functions and plain data only: the search is
// compiled once and a packed model for each instruction set, and the linker would keep one copy of an inline function
// that both contain, perhaps the one that this processor cannot run.
#pragma once

#include <cstdint>

#include "file/network_view.h"

namespace peephole {

// Receives the numbers of a trace. They have names of their own within a place, such as layer 0, direction 1 of the encoder.
class Recorder {
 public:
  virtual ~Recorder();
  // Row `row` of an array: of an encoder's layer the position, else the step. An array has rows of one size.
  virtual void record(const char *part, int64_t layer, int64_t direction, const char *name, int64_t row, const float *numbers,
                      int64_t size) = 0;
};

// The rows of one worker's search, one hypothesis each, and the sources they read.
class Decoder {
 public:
  virtual ~Decoder();
  // Encodes n sources, `lengths` symbols (int32_t) or frames (float, F numbers each) long, into the slots `slots`; adds a
  // row for each, with the state before its first symbol, and returns the number of the first. `copies`: of a network
  // that copies, the target symbol of each source symbol; else not read.
  virtual int64_t read(int64_t n, const void *const *sources, const int32_t *const *copies, const int64_t *lengths,
                       const int64_t *slots) = 0;
  // Feeds a symbol to each of n rows, (14): row r continues row parents[r] of the step before, and replaces it.
  virtual void step(int64_t n, const int64_t *parents, const int32_t *symbols) = 0;
  // The same with a vector of D numbers for each row; only models of vectors have it.
  virtual void step_vectors(int64_t n, const int64_t *parents, const float *vectors);
  // log p of every symbol given row r, V of them, and of each text to be copied; the search may change them. Of a model
  // of vectors W_p r_t + b_p.
  virtual float *log_probs(int64_t row) = 0;
  // The attention weights α of (16) from which row r was computed, one for each place of its source; NULL for a fixed
  // context.
  virtual const float *attention(int64_t row) const = 0;
  // The CTC output over the same sources as a decoder of its own, with one row for each row here; NULL: the model has
  // none. Its `read` follows that of this decoder, which must outlive it, with the same arguments.
  virtual Decoder *new_ctc() const = 0;
  // Records what `read` and `step` compute from now on, for one source and one row at a time; NULL: nothing.
  virtual void record_to(Recorder *recorder);
  // Gives all rows of the next step these attention weights, one for each place of their source, in place of (16).
  virtual void bend(const float *weights);
};

// A model packed for an instruction set; any number of threads may read it.
class Network {
 public:
  virtual ~Network();
  // The number of places of a source of this length that the decoder attends to.
  virtual int64_t places(int64_t length) const = 0;
  virtual Decoder *new_decoder() const = 0;
};

}  // namespace peephole
