// The rows of a batch of sequences of unequal lengths: their order, and their positions in the caller's arrays.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

// n, rounded up to whole vectors of 64 bytes, the widest: the size of memory is the same for all instruction sets. Within
// it, units are padded to the vector in use.
template <class T>
constexpr int64_t padded(int64_t n) {
  return (n + 64 / int64_t(sizeof(T)) - 1) / (64 / int64_t(sizeof(T))) * (64 / int64_t(sizeof(T)));
}

// Cuts a caller's memory into arrays that begin on 64 bytes; without memory it only counts bytes.
class Arena {
 public:
  explicit Arena(void *memory) : base_(static_cast<char *>(memory)) {}
  template <class T>
  T *take(int64_t count) {
    size_t at = used_;
    used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
    return base_ ? reinterpret_cast<T *>(base_ + at) : nullptr;
  }
  size_t used() const { return used_; }

 private:
  char *base_;
  size_t used_ = 0;
};

// Sequences sorted by decreasing length have the ranks 0 … B-1: at step s (from 0, in the order of reading) the ranks
// below active[s] are alive. Rows of all real steps are numbered step by step: row offset[s] + rank.
//
// A thread computes a part of the ranks through all steps: part, part + parts, …, so that every part has long and short
// sequences. Its q-th rank is part + q * parts.
struct Walk {
  int64_t batch, max_steps, parts;
  int64_t steps = 0;  // longest length
  int64_t rows = 0;   // real steps of all sequences
  int64_t *order, *active, *offset, *position, *previous;

  Walk(int64_t batch_size, int64_t num_steps, int64_t threads, Arena &arena)
      : batch(batch_size), max_steps(num_steps), parts(threads < batch_size ? threads : batch_size) {
    order = arena.take<int64_t>(batch);             // rank -> b
    active = arena.take<int64_t>(max_steps + 2);    // step -> sequences alive; 0 after the last
    offset = arena.take<int64_t>(max_steps + 1);    // step -> its first row
    position = arena.take<int64_t>(batch * max_steps);     // row -> b * T + t
    previous = arena.take<int64_t>(batch * max_steps);  // row -> B + row of the step before; at the first step its rank
  }

  void find(const int64_t *lengths, bool reverse) {
    for (int64_t s = 0; s < max_steps + 2; ++s) active[s] = 0;
    for (int64_t b = 0; b < batch; ++b) {
      if (lengths[b] > steps) steps = lengths[b];
      for (int64_t s = 0; s < lengths[b]; ++s) ++active[s];
    }
    // active[L] sequences are longer than L: those of length L follow them, in the order of the batch. Here offset
    // holds the next free rank of each length.
    for (int64_t s = 0; s < steps; ++s) offset[s] = active[s + 1];
    for (int64_t b = 0; b < batch; ++b) order[offset[lengths[b] - 1]++] = b;
    for (int64_t s = 0; s < steps; ++s) {
      offset[s] = rows;
      for (int64_t rank = 0; rank < active[s]; ++rank, ++rows) {
        int64_t b = order[rank];
        position[rows] = b * max_steps + (reverse ? lengths[b] - 1 - s : s);
        previous[rows] = s ? batch + offset[s - 1] + rank : rank;
      }
    }
  }

  int64_t row(int64_t part, int64_t step, int64_t q) const { return offset[step] + part + q * parts; }
  int64_t rank(int64_t part, int64_t q) const { return part + q * parts; }
  // How many of the ranks below `end` are the part's.
  int64_t in_part(int64_t end, int64_t part) const { return end > part ? (end - part + parts - 1) / parts : 0; }
  int64_t alive(int64_t part, int64_t step) const { return in_part(active[step], part); }
  // The part's section of an array with one entry for each rank.
  template <class P>
  P *of_part(P *array, int64_t part) const {
    return array + part * (batch / parts) + (part < batch % parts ? part : batch % parts);
  }
};

}  // namespace
