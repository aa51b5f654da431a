// Prints the tensors of each architecture on standard input, one a line: numbers of source and target symbols, then the
// architecture as JSON; for tests. A tensor's line is its name, its role and its shape.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "file/safetensors.h"
#include "file/schema.h"

int main() {
  static const char *const roles[] = {"matrix", "vector", "diagonal"};
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream stream(line);
    long long num_source_symbols = 0, num_target_symbols = 0;
    stream >> num_source_symbols >> num_target_symbols;
    std::string text;
    std::getline(stream, text);
    std::printf("\x1e\n");  // the record separator
    try {
      const peephole::Architecture architecture = peephole::read_architecture(peephole::read_json(text));
      const peephole::Schema schema(architecture, num_source_symbols, num_target_symbols);
      for (const peephole::TensorSpec &spec : schema.tensors())
        std::printf("%s %s %s\n", spec.name.c_str(), roles[int(spec.role)], peephole::shape_text(spec.shape).c_str());
    } catch (const peephole::FileError &error) {
      std::printf("error %s\n", error.what());
    }
  }
}
