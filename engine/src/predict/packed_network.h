// A model packed for prediction.
#pragma once

#include "cell/attention_kinds.h"
#include "predict/affine.h"
#include "predict/copying.h"
#include "predict/encoder.h"
#include "predict/network.h"

namespace {

class PackedNetwork final : public peephole::Network {
 public:
  PackedNetwork(const peephole::NetworkView &view, const NumberFormat &number_format)
      : format(number_format), gru(view.gru), residual(view.residual && view.decoder_layers > 1), input_feeding(view.input_feeding), H(view.hidden_size), M(view.encoder_size), V(view.output.weight.rows),
        E(view.embedding_size),
        num_layers(view.decoder_layers), encoder(view, format),
        embeddings(format, in_lanes<float>(view.embedding_size)), layers(new Cell[size_t(num_layers)]),
        attention(pack_attention(format, view)) {
    if (!peephole::is_vectors(view.output_kind)) {
      read_embeddings(embeddings, view.target_embedding);
    } else {
      D = view.output_size;
      vector_input.pack(format, {view.target_embedding, view.vector_bias}, 0, D);
    }
    for (int64_t l = 0; l < num_layers; ++l)
      layers[l].pack(format, view.decoder[l], view, H, l ? 0 : view.embedding_size);
    if (view.bridge_hidden) {
      hidden_bridge = new Affine[size_t(num_layers)];
      cell_bridge = new Affine[size_t(num_layers)];
      for (int64_t l = 0; l < num_layers; ++l) {
        hidden_bridge[l].pack(format, view.bridge_hidden[l], 0, M);
        if (!gru) cell_bridge[l].pack(format, view.bridge_cell[l], 0, M);
      }
    }
    const MatrixView &readout = view.readout.weight;  // (H, H + M + E)
    pack_matrix(format, readout_state, readout, 0, H);
    if (M) pack_matrix(format, readout_context, readout, H, M);
    readout_symbol.pack(format, view.readout, H + M, view.embedding_size);
    output.pack(format, view.output, 0, H);
    if (view.copies) gate.pack(view);
    has_ctc = view.has_ctc;
    if (has_ctc) ctc.pack(format, view.ctc, 0, M);
    asks_symbol = view.weight_symbol.rows > 0;
    if (asks_symbol) pack_matrix(format, query_symbol, view.weight_symbol, 0, view.embedding_size);
    if (D) return;
    symbol_gates.pack(embeddings, V, layers[0].gates(),
                      [&](const Selection &x, float *out) { layers[0].project(x, out); });
    symbol_readouts.pack(embeddings, V, readout_symbol.width(),
                         [&](const Selection &x, float *out) { readout_symbol.apply(x, out); });
    if (asks_symbol)
      symbol_queries.pack(embeddings, V, query_symbol.columns(), [&](const Selection &x, float *out) {
        query_symbol.multiply(x, out, query_symbol.columns());
      });
  }
  ~PackedNetwork() override {
    delete[] layers;
    delete attention;
    delete[] hidden_bridge;
    delete[] cell_bridge;
  }
  int64_t places(int64_t length) const override { return encoder.steps(length); }
  peephole::Decoder *new_decoder() const override;

  const NumberFormat &format;
  bool gru, residual, input_feeding;
  int64_t H, M, V, E, num_layers;
  int64_t D = 0;  // numbers in a vector; 0: the output is symbols
  Encoder encoder;
  Operands embeddings;
  Cell *layers;
  const PackedAttention *attention;
  Affine *hidden_bridge = nullptr, *cell_bridge = nullptr;  // for each layer; NULL: states are copied
  Matrix readout_state, readout_context;
  Affine readout_symbol, output, vector_input;
  CopyGate gate;
  bool has_ctc = false;
  Affine ctc;  // of symbols and blank, over the encoder's outputs
  bool asks_symbol = false;  // attention reads E(y_{t-1}), (67), with the next two
  Matrix query_symbol;
  SymbolProducts symbol_gates, symbol_readouts, symbol_queries;
};

}  // namespace
