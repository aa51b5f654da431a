// The container of model files: the safetensors format, named tensors and texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "file/json.h"
#include "simd/matrix_view.h"

namespace peephole {

// An array in the file, row-major without gaps, little-endian.
struct Tensor {
  Number number = Number::kFloat32;
  std::vector<int64_t> shape;
  const unsigned char *data = nullptr;  // in the caller's memory, maybe unaligned
  size_t bytes = 0;

  int64_t size() const;  // numbers in it
};

// Number format and shape as in error messages and in the checksum: "float32" or such, and "(3, 5)".
std::string number_name(Number number);
std::string shape_text(const std::vector<int64_t> &shape);

class Safetensors {
 public:
  // Reads the header, and checks that the file is whole and that tensors fill it without gaps or overlaps.
  // Throws FileError.
  Safetensors(const void *data, size_t size);

  // The texts, such as the format version.
  const std::map<std::string, std::string> &metadata() const { return metadata_; }

  // The tensors. Throws FileError if a number format is none of Number's.
  std::map<std::string, Tensor> tensors() const;

 private:
  void read_metadata(const Json &entries);
  void check_layout(size_t size) const;

  struct Entry {
    std::string number;  // as the format names it
    std::vector<int64_t> shape;
    size_t begin, end;
  };

  static Entry read_entry(const std::string &name, const Json &json, size_t size);

  const unsigned char *content_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, Entry> entries_;
};

// The CRC-32 of all tensors and texts in the order of their names, as src/peephole/model_file.py computes it: 8
// hexadecimal digits. The text named `checksum` is left out.
std::string checksum(const std::map<std::string, std::string> &metadata, const std::map<std::string, Tensor> &tensors);

}  // namespace peephole
