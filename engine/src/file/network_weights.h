// From a model file to the view that kernels pack.
#pragma once

#include <vector>

#include "file/model_file.h"
#include "file/network_view.h"

namespace peephole {

class NetworkViewOwner {
 public:
  // The view points into the file's memory and into this object.
  explicit NetworkViewOwner(const ModelFile &file);
  const NetworkView &view() const { return view_; }

 private:
  NetworkView view_{};
  std::vector<LayerView> encoder_, decoder_;
  std::vector<LinearView> bridge_hidden_, bridge_cell_;
};

}  // namespace peephole
