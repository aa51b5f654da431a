#include "predict/network.h"

namespace peephole {

Decoder::~Decoder() = default;
Network::~Network() = default;

}  // namespace peephole
