// Where each weight of a model lies in its file, by its role in the network. Plain data without functions: code compiled
// once fills it, code compiled for each instruction set reads it.
#pragma once

#include "simd/matrix_view.h"

namespace peephole {

// Weights of a layer in one direction. LSTM: gates i, f, g, o and one bias; GRU: r, z, n and two.
struct LayerView {
  MatrixView input, hidden, peephole;  // (4H, I), (4H, H), (3H, H) with full peepholes; GRU: 3H
  MatrixView diagonal;                 // (3, H) with diagonal ones
  MatrixView bias, bias_hidden;        // (1, 4H); GRU: (1, 3H) each
  MatrixView gain;                     // (1, 4H) with layer normalisation; GRU: (1, 3H)
  MatrixView cell_gain, cell_bias;     // (1, H); not of a GRU
};

struct LinearView {
  MatrixView weight, bias;  // (O, I), (1, O)
};

// Kinds of input, in the order of their names in architecture.cpp.
enum class Input : int32_t { kSymbols, kFrames, kConvolution, kNone };

// Kinds of output, in the order of their names in architecture.cpp.
enum class Output : int32_t { kSymbols, kCopy, kGaussian, kQuantile };

inline bool is_vectors(Output output) { return output == Output::kGaussian || output == Output::kQuantile; }

enum class Context : int32_t { kAttention, kLast, kMean };

// Kinds of attention, in the order of their names in architecture.cpp.
enum class Alignment : int32_t { kAdditive, kDot, kGeneral, kLocation, kCoverage, kMultihead };

struct NetworkView {
  bool gru;
  int32_t form;  // enum peephole_form
  int64_t hidden_size, encoder_size, embedding_size, encoder_layers, decoder_layers, directions;  // Input::kNone: no encoder,
                                                                                              // and encoder_size 0
  Context context;
  Alignment attention;  // for Context::kAttention
  Number number;  // what products multiply
  Input input;
  int64_t input_size, input_planes, frame_stack, convolution_layers;
  int64_t pyramid;                                // encoder layers above the first that read pairs of steps
  bool residual;                                  // the outputs of the layers from the second on are sums, (41)
  bool layer_norm;                                // normalised gates and cells, (44)-(46)
  bool input_feeding;                             // the decoder's lowest layer reads r_{t-1}, (62)
  double zoneout_hidden, zoneout_cell;            // shares of h and c before a step that it keeps, (43)
  Output output_kind;
  int64_t output_size;            // D, of vectors
  bool source_units, continues, feedback;  // of vectors: see peephole.nn.vectors.VectorSeq2Seq
  MatrixView source_embedding;    // (V, E)
  MatrixView ngrams;              // (N, E)  of trigrams of source symbols, (66); no rows: none
  MatrixView target_embedding;    // (V, E); A (E, D) of vectors
  MatrixView vector_bias;         // a (1, E)
  MatrixView vector_mean, vector_deviation;       // (1, D), unless the source gives the units
  MatrixView frame_mean, frame_scale;             // (1, F); input of frames
  const LinearView *convolutions;                 // (D, 9C): the points of each input channel's kernel, row by row
  LinearView projection;                          // of joined frames, or of all channels and features of a column
  const LayerView *encoder;                       // layer * directions + direction
  const LayerView *decoder;
  const LinearView *bridge_hidden, *bridge_cell;  // one for each decoder layer; NULL: states are copied, (9)
  MatrixView weight_query, weight_keys, vector;   // W_s, W_h (or W of general attention), v (1, A)
  MatrixView weight_symbol;                       // W_y (A, E) of (67); no rows: attention does not read the symbol
  MatrixView attention_bias;                      // b (1, A)
  MatrixView filters, weight_location;            // F (C, R), U (A, C)
  MatrixView weight_coverage;                     // w_c (1, A)
  MatrixView weight_values, weight_output;        // W_v, W_o (M, M)
  int64_t heads;                                  // K, of Alignment::kMultihead
  LinearView readout, output;
  bool copies;                                    // copying, (26), (27), with the next two
  MatrixView gate_weight, gate_bias;              // w_g (1, H + M + E), b_g (1, 1)
  bool has_ctc;
  LinearView ctc;  // (V, M): scores of every symbol, and of blank in the place of <pad>
};

}  // namespace peephole
