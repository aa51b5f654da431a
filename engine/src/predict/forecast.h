// Targets of real vectors, drawn step by step: (51)-(56), as src/peephole/search/vectors.py defines them.
#pragma once

#include <cstdint>
#include <vector>

#include "peephole.h"
#include "predict/network.h"

namespace peephole {

// The sizes and kinds of a model's real vectors, which are not weights of the network.
struct VectorOutput {
  Output kind = Output::kSymbols;
  int64_t size = 0;     // D, numbers in a vector
  int64_t numbers = 0;  // P, numbers that describe a component
  bool source_units = true, continues = true, feedback = true;
  std::vector<float> mean, deviation;  // constants of (51), unless the source gives the units
};

// Copies them from the view of the model file.
VectorOutput read_vector_output(const NetworkView &view);

// Draws all targets of a checked request; `frame_size` is F.
// Throws std::bad_alloc; Stopped if the caller's function stops it.
void forecast(const Network &network, const VectorOutput &output, int64_t frame_size, const peephole_forecast &request);

}  // namespace peephole
