// Waiting for another thread without sleeping.
#pragma once

namespace peephole {

// Returns whether `ready` becomes true within the time that waking a sleeping thread takes. Spinning for longer would
// take more from a busy machine than it saves.
template <class Ready>
bool becomes_true_soon(Ready ready) {
  for (int i = 0; i < 2000; ++i) {
    if (ready()) return true;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
  return false;
}

}  // namespace peephole
