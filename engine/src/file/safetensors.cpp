#include "file/safetensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

namespace peephole {

namespace {

constexpr size_t kLargestHeader = 100'000'000;  // bytes, that the safetensors library reads
constexpr double kLargestInteger = 9007199254740992;  // 2^53: all up to here are exact as double

// Bytes of a number of each format that the safetensors library names; 0: less than a byte, or unknown.
size_t number_bytes(const std::string &number) {
  static const std::map<std::string, size_t> known = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"I16", 2}, {"U16", 2},
      {"F16", 2},  {"BF16", 2}, {"I32", 4}, {"U32", 4},     {"F32", 4},     {"C64", 8},     {"F64", 8}, {"I64", 8},
      {"U64", 8}};
  auto found = known.find(number);
  return found == known.end() ? 0 : found->second;
}

[[noreturn]] void not_whole(const std::string &what) { throw FileError("not a whole safetensors file: " + what); }

// A size or place: a whole number from 0 to 2^53; -1 for anything else.
int64_t whole_number(const Json &json) {
  const double *number = json.number();
  if (number == nullptr || !(*number >= 0) || *number > kLargestInteger || std::floor(*number) != *number) return -1;
  return int64_t(*number);
}

// Tables for eight bytes at a time: table[k][b] is the remainder of byte b with k bytes of zeros after it.
using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0xEDB88320u : 0);
    tables[0][byte] = remainder;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t byte = 0; byte < 256; ++byte)
      tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 0xFF];
  return tables;
}

// CRC-32 of ISO 3309, as zlib computes it; `crc` is that of the bytes before `data`.
uint32_t crc32(const void *data, size_t size, uint32_t crc) {
  static const CrcTables tables = make_crc_tables();
  const unsigned char *byte = static_cast<const unsigned char *>(data);
  crc = ~crc;
  for (; size >= 8; size -= 8, byte += 8) {
    uint32_t low = crc ^ (byte[0] | uint32_t(byte[1]) << 8 | uint32_t(byte[2]) << 16 | uint32_t(byte[3]) << 24);
    crc = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^ tables[4][low >> 24] ^
          tables[3][byte[4]] ^ tables[2][byte[5]] ^ tables[1][byte[6]] ^ tables[0][byte[7]];
  }
  for (; size > 0; --size, ++byte) crc = crc >> 8 ^ tables[0][(crc ^ *byte) & 0xFF];
  return ~crc;
}

uint32_t crc32(const std::string &text, uint32_t crc) { return crc32(text.data(), text.size(), crc); }

}  // namespace

int64_t Tensor::size() const {
  if (bytes == 0) return 0;  // other axes may be of any length
  int64_t count = 1;
  for (int64_t length : shape) count *= length;
  return count;
}

std::string number_name(Number number) {
  switch (number) {
    case Number::kFloat32: return "float32";
    case Number::kBfloat16: return "bfloat16";
    case Number::kInt8: break;
  }
  return "int8";
}

std::string shape_text(const std::vector<int64_t> &shape) {
  std::string text = "(";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

Safetensors::Safetensors(const void *data, size_t size) {
  const unsigned char *file = static_cast<const unsigned char *>(data);
  if (size < 8) not_whole("wanted at least 8 bytes, got " + std::to_string(size));
  uint64_t header = 0;
  for (int byte = 7; byte >= 0; --byte) header = header << 8 | file[byte];
  if (header > kLargestHeader) not_whole("wanted a header of at most 100000000 bytes, got " + std::to_string(header));
  if (header > size - 8)
    not_whole("wanted a header of " + std::to_string(header) + " bytes, got a file of " + std::to_string(size));
  content_ = file + 8 + header;
  const size_t content = size - 8 - size_t(header);

  Json tree;
  try {
    tree = read_json({reinterpret_cast<const char *>(file) + 8, size_t(header)});
  } catch (const FileError &error) {
    not_whole(std::string("header: ") + error.what());
  }
  if (tree.object() == nullptr) not_whole("header: wanted an object, got " + tree.describe());
  for (const auto &[name, json] : *tree.object()) {
    if (name == "__metadata__")
      read_metadata(json);
    else
      entries_.emplace(name, read_entry(name, json, content));
  }
  check_layout(content);
}

void Safetensors::read_metadata(const Json &entries) {
  if (entries.object() == nullptr) not_whole("__metadata__: wanted an object, got " + entries.describe());
  for (const auto &[name, json] : *entries.object()) {
    if (json.text() == nullptr) not_whole("__metadata__, " + quoted(name) + ": wanted a text, got " + json.describe());
    metadata_.emplace(name, *json.text());
  }
}

// `size` is that of all tensors together, in bytes.
Safetensors::Entry Safetensors::read_entry(const std::string &name, const Json &json, size_t size) {
  auto fail = [&](const std::string &what) { not_whole("tensor " + quoted(name) + ": " + what); };
  const Json *number = json.find("dtype"), *shape = json.find("shape"), *offsets = json.find("data_offsets");
  if (number == nullptr || number->text() == nullptr) fail("wanted a dtype");
  if (shape == nullptr || shape->array() == nullptr) fail("wanted a shape");
  if (offsets == nullptr || offsets->array() == nullptr || offsets->array()->size() != 2)
    fail("wanted two data_offsets");

  const int64_t begin = whole_number((*offsets->array())[0]), end = whole_number((*offsets->array())[1]);
  if (begin < 0 || end < begin || uint64_t(end) > size)
    fail("wanted data_offsets from 0 to " + std::to_string(size) + ", got " +
              (*offsets->array())[0].describe() + " and " + (*offsets->array())[1].describe());

  Entry entry{*number->text(), {}, size_t(begin), size_t(end)};
  const size_t bytes = number_bytes(entry.number);
  bool empty = false, fits = true;
  uint64_t wanted = bytes;
  for (const Json &axis : *shape->array()) {
    const int64_t length = whole_number(axis);
    if (length < 0) fail("wanted a shape of whole numbers, got " + axis.describe());
    entry.shape.push_back(length);
    if (length == 0)
      empty = true;
    else if (wanted > uint64_t(kLargestInteger) / uint64_t(length))
      fits = false;  // far more than there is; another axis may still be 0
    else
      wanted *= uint64_t(length);
  }
  if (bytes != 0 && (empty ? begin != end : !fits || wanted != uint64_t(end - begin)))
    fail("wanted the bytes of " + entry.number + " " + shape_text(entry.shape) + ", got " +
              std::to_string(end - begin));
  return entry;
}

// Tensors must fill the rest of the file, each byte of it once.
void Safetensors::check_layout(size_t size) const {
  std::vector<std::pair<std::pair<size_t, size_t>, const std::string *>> places;
  for (const auto &[name, entry] : entries_) places.push_back({{entry.begin, entry.end}, &name});
  std::sort(places.begin(), places.end());
  size_t filled = 0;
  for (const auto &[place, name] : places) {
    if (place.first != filled)
      not_whole("tensor " + quoted(*name) + ": wanted it to begin at byte " + std::to_string(filled) + ", got " +
                std::to_string(place.first));
    filled = place.second;
  }
  if (filled != size)
    not_whole("wanted tensors of " + std::to_string(size) + " bytes, got " + std::to_string(filled));
}

std::map<std::string, Tensor> Safetensors::tensors() const {
  std::map<std::string, Tensor> found;
  for (const auto &[name, entry] : entries_) {
    Tensor tensor;
    if (entry.number == "F32")
      tensor.number = Number::kFloat32;
    else if (entry.number == "BF16")
      tensor.number = Number::kBfloat16;
    else if (entry.number == "I8")
      tensor.number = Number::kInt8;
    else
      throw FileError("tensor " + quoted(name) + ": wanted F32, BF16 or I8, got " + quoted(entry.number));
    tensor.shape = entry.shape;
    tensor.data = content_ + entry.begin;
    tensor.bytes = entry.end - entry.begin;
    found.emplace(name, std::move(tensor));
  }
  return found;
}

std::string checksum(const std::map<std::string, std::string> &metadata, const std::map<std::string, Tensor> &tensors) {
  uint32_t crc = 0;
  for (const auto &[name, text] : metadata) {
    if (name == "checksum") continue;
    crc = crc32(text, crc32(name + "=", crc));
  }
  for (const auto &[name, tensor] : tensors) {
    crc = crc32(name + ":" + number_name(tensor.number) + shape_text(tensor.shape), crc);
    crc = crc32(tensor.data, tensor.bytes, crc);
  }
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", crc);
  return digits;
}

}  // namespace peephole
