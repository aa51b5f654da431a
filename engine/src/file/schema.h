// The description of a network: from its architecture follow the name, shape and role of each tensor, and its place in
// the view that prediction packs. src/peephole/nn/schema.py is the same description in Python; a test compares them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "file/architecture.h"
#include "file/network_view.h"

namespace peephole {

enum class Role {
  kMatrix,    // in a quantised model stored in fewer bits
  kVector,    // always float32
  kDiagonal,  // diagonals of peephole matrices: two dimensions, always float32
};

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  Role role;
  MatrixView *view;  // in the schema's network view
};

class Schema {
 public:
  Schema(const Architecture &architecture, int64_t num_source_symbols, int64_t num_target_symbols);
  Schema(const Schema &) = delete;
  Schema &operator=(const Schema &) = delete;

  // The tensors, in the order of Seq2Seq.state_dict().
  const std::vector<TensorSpec> &tensors() const { return tensors_; }

  // Kinds and sizes, and where each weight lies once the views of all tensors are set. Points into this object.
  const NetworkView &view() const { return view_; }
  void set_number(Number number) { view_.number = number; }

 private:
  using Shape = std::vector<int64_t>;

  void add(const std::string &name, Shape shape, Role role, MatrixView &view);
  void add_matrix(const std::string &name, int64_t rows, int64_t columns, MatrixView &view);
  void add_vector(const std::string &name, int64_t size, MatrixView &view);
  void add_linear(const std::string &name, int64_t inputs, int64_t outputs, LinearView &view);
  void add_cell(const std::string &name, int64_t inputs, int64_t hidden, LayerView &view);
  void add_peephole(const std::string &name, int64_t hidden, LayerView &view);
  void add_frontend(int64_t num_symbols);
  void add_encoder();
  void add_bridge(const std::string &name, std::vector<LinearView> &layers);
  void add_attention();
  void add_additive();
  void add_decoder(int64_t num_symbols);

  const Architecture architecture_;
  NetworkView view_{};
  std::vector<LayerView> encoder_, decoder_;
  std::vector<LinearView> bridge_hidden_, bridge_cell_, convolutions_;
  std::vector<TensorSpec> tensors_;
};

}  // namespace peephole
