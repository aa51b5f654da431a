// A request of one source with its own copies of the arrays.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "predict/search.h"

namespace peephole {

struct CopiedRequest : peephole_request {
  // frame_size: F of the models; 0: sources are symbols. The request has been checked.
  CopiedRequest(const peephole_request &given, int64_t frame_size) : peephole_request(given) {
    const int64_t length = given.source_offsets[1];
    own(source_offsets, source_offsets_, 2);
    if (frame_size)
      own(frames, frames_, length * frame_size);
    else
      own(sources, sources_, length);
    own(copies, copies_, frame_size ? 0 : length);
    own(max_lengths, max_lengths_, 1);
    own(targets, targets_, given.target_offsets ? given.target_offsets[1] : 0);
    own(target_offsets, target_offsets_, 2);
    if (kind != PEEPHOLE_BEAM) phrase_offsets = nullptr;
    const int64_t count = phrase_offsets ? phrase_offsets[1] : 0;
    own(phrases, phrases_, count ? given.phrase_symbol_offsets[count] : 0);
    own(phrase_symbol_offsets, phrase_symbol_offsets_, count + 1);
    own(phrase_offsets, phrase_offsets_, 2);
    own(generators, generators_, kind == PEEPHOLE_SAMPLE ? 4 : 0);
  }
  CopiedRequest(const CopiedRequest &) = delete;
  CopiedRequest &operator=(const CopiedRequest &) = delete;

 private:
  std::vector<int64_t> source_offsets_, max_lengths_, target_offsets_, phrase_offsets_, phrase_symbol_offsets_;
  std::vector<int32_t> sources_, copies_, targets_, phrases_;
  std::vector<float> frames_;
  std::vector<uint64_t> generators_;

  // Replaces an array by a copy of its first `count` numbers.
  template <class T>
  static void own(const T *&array, std::vector<T> &copy, int64_t count) {
    if (!array) return;
    copy.assign(array, array + count);
    array = copy.data();
  }
};

}  // namespace peephole
