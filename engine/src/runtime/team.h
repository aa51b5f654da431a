// Threads that help one thread of a search within its steps: a long source by itself would keep one thread busy only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace peephole {

class Team {
 public:
  explicit Team(int64_t helpers);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  // Helps the leader, on another thread, until it dismisses the team. While it sleeps it calls waiting(context), unless
  // NULL, now and then. It sleeps after a moment without work, which a busy machine then has for others.
  void help(int64_t helper, void (*waiting)(void *), void *context);

 private:
  friend class Leads;
  friend int64_t sharers(int64_t operations);
  friend void share(int64_t parts, void (*run)(void *, int64_t), void *context);
  struct Seat;
  std::vector<std::unique_ptr<Seat>> seats_;
  void (*run_)(void *, int64_t) = nullptr;
  void *context_ = nullptr;
  int64_t rests_until_ = 0;  // steady clock: a helper that another process interrupts costs more than it gains

  bool rests();
  void share(int64_t parts, void (*run)(void *, int64_t), void *context);
  void dismiss() noexcept;
};

// While this object exists, this thread leads the team, if it is not NULL: sharers() and share() use it.
class Leads {
 public:
  explicit Leads(Team *team);
  ~Leads();
  Leads(const Leads &) = delete;
  Leads &operator=(const Leads &) = delete;

 private:
  Team *team_, *outer_;  // the caller's function may run another search
};

}  // namespace peephole
