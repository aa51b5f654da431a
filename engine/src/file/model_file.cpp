#include "file/model_file.h"

#include <cstdint>
#include <utility>

namespace peephole {

namespace {

constexpr int kNewestVersion = 3;

// The name of a tensor in a file; the formats before 3 have an older one for the source embedding.
std::string stored_name(const std::string &name, int version) {
  return version < 3 && name == "frontend.embedding.weight" ? "encoder.embedding.weight" : name;
}

// The tensors under the names and in the number formats of a file. In all formats but the first the embedding's number
// format is that of all matrices.
std::map<std::string, Tensor> wanted_tensors(const Schema &schema, int version, const std::map<std::string, Tensor> &got) {
  auto embedding = got.find("decoder.embedding.weight");
  const Number stored = version < 2 || embedding == got.end() ? Number::kFloat32 : embedding->second.number;
  std::map<std::string, Tensor> wanted;
  for (const TensorSpec &spec : schema.tensors()) {
    const std::string name = stored_name(spec.name, version);
    Tensor &tensor = wanted[name];
    tensor.shape = spec.shape;
    if (spec.role == Role::kMatrix) tensor.number = stored;
    if (tensor.number == Number::kInt8) wanted[name + ".scale"].shape = {spec.shape[0]};
  }
  return wanted;
}

void check_tensors(const std::map<std::string, Tensor> &wanted, const std::map<std::string, Tensor> &got) {
  auto text = [](const std::map<std::string, Tensor> &tensors, const std::string &name) {
    auto found = tensors.find(name);
    if (found == tensors.end()) return std::string("no tensor");
    return number_name(found->second.number) + " " + shape_text(found->second.shape);
  };
  auto refuse = [&](const std::string &name) {
    throw FileError("tensor " + quoted(name) + ": wanted " + text(wanted, name) + ", got " + text(got, name));
  };
  for (const auto &[name, tensor] : wanted) {
    auto found = got.find(name);
    if (found == got.end() || found->second.number != tensor.number || found->second.shape != tensor.shape) refuse(name);
  }
  for (const auto &entry : got)
    if (!wanted.count(entry.first)) refuse(entry.first);
}

int read_version(const std::map<std::string, std::string> &metadata) {
  auto text = [&](const char *name) {
    auto found = metadata.find(name);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (text("format") != "peephole")
    throw FileError("wanted a model saved by peephole, got another program's safetensors file");
  const std::string version = text("format_version");
  if (version.size() != 1 || version[0] < '1' || version[0] > '0' + kNewestVersion)
    throw FileError("wanted format version " + std::to_string(kNewestVersion) + " or older, got " + quoted(version) +
                    "; a newer peephole reads it");
  return version[0] - '0';
}

Json read_table(const std::map<std::string, std::string> &metadata, const std::string &key) {
  auto found = metadata.find(key);
  if (found == metadata.end()) throw FileError("there is no " + key);
  Json tree;
  try {
    tree = read_json(found->second);
  } catch (const FileError &error) {
    throw FileError(key + ": " + error.what());
  }
  if (tree.object() == nullptr) throw FileError(key + ": wanted a JSON object, got " + tree.describe());
  return tree;
}

void check_checksum(const std::map<std::string, std::string> &metadata, const std::map<std::string, Tensor> &tensors) {
  auto stored = metadata.find("checksum");  // other programs write none
  if (stored == metadata.end()) return;
  const std::string got = checksum(metadata, tensors);
  if (stored->second != got) throw FileError("damaged: wanted checksum " + quoted(stored->second) + ", got " + got);
}

// Sets the view of each tensor to its data.
void bind(Schema &schema, int version, const std::map<std::string, Tensor> &tensors) {
  for (const TensorSpec &spec : schema.tensors()) {
    const std::string name = stored_name(spec.name, version);
    const Tensor &tensor = tensors.at(name);
    const auto scales = tensors.find(name + ".scale");
    spec.view->numbers = tensor.data;
    spec.view->number = tensor.number;
    spec.view->scales = scales == tensors.end() ? nullptr : scales->second.data;
  }
  schema.set_number(schema.view().target_embedding.number);
}

}  // namespace

ModelFile read_model_file(const void *data, size_t size) {
  const Safetensors container(data, size);
  const auto &metadata = container.metadata();
  const int version = read_version(metadata);
  ModelFile file;
  file.tensors = container.tensors();
  check_checksum(metadata, file.tensors);
  try {
    file.architecture = version < 3 ? read_config(read_table(metadata, "config"))
                                    : read_architecture(read_table(metadata, "architecture"));
    file.source = read_symbols(read_table(metadata, "source_symbols"));
    file.target = read_symbols(read_table(metadata, "target_symbols"));
  } catch (const FileError &error) {
    throw FileError(std::string("metadata: ") + error.what());
  }
  auto schema = std::make_unique<Schema>(file.architecture, int64_t(file.source.names.size()),
                                         int64_t(file.target.names.size()));
  check_tensors(wanted_tensors(*schema, version, file.tensors), file.tensors);
  peephole::bind(*schema, version, file.tensors);
  file.schema = std::move(schema);
  return file;
}

}  // namespace peephole
