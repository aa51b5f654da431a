// A search that sources join and leave at any step. Results are those of `search` for the source alone, to the bit,
// because a row of the decoders does not depend on the others.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "predict/search.h"

namespace peephole {

// What became of a source of a session.
struct Answer {
  int64_t ticket;
  std::exception_ptr error;  // NULL, or why the search for this source failed
  std::vector<Found> found;
};

struct SessionCounts {
  int64_t active;   // sources that the models have read
  int64_t waiting;  // sources that they have not
  int64_t free;     // places that active sources leave
};

// Any thread may call its functions. Only `step` takes long, and only other calls of `step` wait for it.
class Session {
 public:
  // threads: of a step. places: most rows of active sources together, one for each hypothesis.
  Session(int threads, int64_t places);
  ~Session();

  // Adds the only source of a request that has been checked; its arrays are copied. The models must outlive the session.
  // Throws std::invalid_argument if the ticket is in use or the source needs more places than there are.
  void add(int64_t ticket, const Searcher &searcher, const peephole_request &request);

  // Reads waiting sources in their order where there are places, and extends all active ones by one symbol. Returns the
  // sources that are done. If it throws std::bad_alloc, another call goes on.
  std::vector<Answer> step();

  // Removes a source; returns whether it was there.
  bool cancel(int64_t ticket);

  SessionCounts counts() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace peephole
