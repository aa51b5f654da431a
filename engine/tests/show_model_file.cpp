// Prints the content of each model file named, or the reader's error; for tests. Texts are in hexadecimal, since they may
// contain any character.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "file/model_file.h"

namespace {

std::string hexadecimal(const std::string &text) {
  std::string digits;
  for (unsigned char byte : text) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    digits += two;
  }
  return digits;
}

void show(const char *side, const peephole::SymbolTable &table) {
  std::printf("%s %s %s", side, table.kind.c_str(), table.normalize.c_str());
  for (const std::string &name : table.names) std::printf(" %s.", hexadecimal(name).c_str());
  std::printf("\n");
}

void show(const peephole::ModelFile &file, const std::string &content) {
  const peephole::Architecture &c = file.architecture;
  std::printf("config %d %d %lld %lld %lld %lld %lld %d %d %d %lld %lld %lld\n", c.gru, c.form, (long long)c.hidden_size,
              (long long)c.encoder_size, (long long)c.embedding_size, (long long)c.encoder_layers,
              (long long)c.decoder_layers, c.bidirectional, int(c.context), int(c.attention),
              (long long)c.location_channels, (long long)c.location_width, (long long)c.attention_heads);
  show("source", file.source);
  show("target", file.target);
  for (const auto &[name, tensor] : file.tensors)
    std::printf("tensor %s %s %s at %zu, %zu\n", name.c_str(), peephole::number_name(tensor.number).c_str(),
                peephole::shape_text(tensor.shape).c_str(),
                size_t(tensor.data - reinterpret_cast<const unsigned char *>(content.data())), tensor.bytes);
}

}  // namespace

int main(int count, char **names) {
  for (int i = 1; i < count; ++i) {
    std::ifstream stream(names[i], std::ios::binary);
    const std::string content((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    std::printf("\x1e%s\n", names[i]);  // the record separator
    try {
      show(peephole::read_model_file(content.data(), content.size()), content);
    } catch (const peephole::FileError &error) {
      std::printf("error %s\n", error.what());
    }
  }
}
