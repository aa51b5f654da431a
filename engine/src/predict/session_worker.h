// The sources of a session that one thread extends together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "predict/copied_request.h"
#include "predict/strategy.h"

namespace peephole {

// A source of a session.
struct Member {
  Member(int64_t number, const Searcher &searcher, const peephole_request &given)
      : ticket(number), request(given, searcher.input_size), num_rows(most_rows(given)) {}
  const int64_t ticket;
  const CopiedRequest request;
  const int64_t num_rows;  // most hypotheses at a time
  bool is_cancelled = false;
  Source source{};
  std::optional<Strategy> strategy;  // once the source is read
  bool is_over = false;
  std::exception_ptr error;  // why it is over; NULL: it has been found
  std::vector<Found> found;

  int64_t length() const { return request.source_offsets[1]; }

  static int64_t most_rows(const peephole_request &request) {
    if (request.kind == PEEPHOLE_FORCE) return 1;
    return request.kind == PEEPHOLE_BEAM ? request.beam_size : request.nbest;
  }
};

class SessionWorker {
 public:
  explicit SessionWorker(const Searcher &searcher) : searcher_(searcher) {}

  bool is_idle() const { return members_.empty(); }
  int64_t num_rows() const { return num_rows_; }
  int64_t unread() const { return unread_; }  // symbols or frames that the next step reads

  void add(std::unique_ptr<Member> member) {
    members_.push_back(std::move(member));
    num_rows_ += members_.back()->num_rows;
    unread_ += members_.back()->length();
  }

  // Reads the new sources, and extends all by one symbol. Does not release those that are over.
  void step() noexcept {
    try {
      read();
      rows_.clear();
      for (auto &member : members_) rows_.add(member->source);
      rows_.step(*models_);
    } catch (...) {  // the models have done a part of the step, so that it cannot be repeated
      fail_all(std::current_exception());
      return;
    }
    for (auto &member : members_) extend(*member);
  }

  // Calls take(member) for each that is over, and releases these and the cancelled ones.
  template <class Take>
  void release(Take take) {
    for (auto &member : members_)
      if (member->is_over && !member->is_cancelled) take(*member);
    auto is_left = [](const std::unique_ptr<Member> &member) { return !member->is_over && !member->is_cancelled; };
    const auto first = std::stable_partition(members_.begin(), members_.end(), is_left);
    for (auto at = first; at != members_.end(); ++at) {
      num_rows_ -= (*at)->num_rows;
      if ((*at)->strategy)
        free_slots_.push_back((*at)->source.slot);
      else
        unread_ -= (*at)->length();
    }
    members_.erase(first, members_.end());
  }

 private:
  const Searcher &searcher_;
  std::unique_ptr<Models> models_;  // NULL before the first source, and after an error
  std::vector<std::unique_ptr<Member>> members_;
  std::vector<int64_t> free_slots_;
  int64_t num_slots_ = 0, num_rows_ = 0, unread_ = 0;
  Reading reading_;
  Rows rows_;

  void read() {
    if (!models_) models_ = std::make_unique<Models>(searcher_);
    if (!unread_) return;
    std::vector<Member *> read;
    reading_.clear();
    for (auto &member : members_) {
      if (member->strategy) continue;
      read.push_back(member.get());
      member->source = make_source(searcher_, member->request, 0, new_slot());
      member->strategy.emplace(searcher_, member->request, *models_);
      reading_.add(searcher_, member->request, member->source);
    }
    int64_t row = reading_.read(*models_);
    for (Member *member : read) member->strategy->start(member->source, row++);
    unread_ = 0;
  }

  int64_t new_slot() {
    if (free_slots_.empty()) {
      free_slots_.reserve(size_t(num_slots_ + 1));  // so that a release needs no memory
      return num_slots_++;
    }
    const int64_t slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }

  static void extend(Member &member) noexcept {
    try {
      member.strategy->extend(member.source);
      member.is_over = member.source.done;
      if (member.is_over) member.found = member.strategy->found(member.source);
    } catch (...) {
      member.is_over = true;
      member.error = std::current_exception();
    }
  }

  void fail_all(const std::exception_ptr &error) noexcept {
    for (auto &member : members_) {
      member->is_over = true;
      member->error = error;
      member->strategy.reset();  // it refers to the models
    }
    models_.reset();
    free_slots_.clear();
    num_slots_ = 0;
    unread_ = 0;
    for (auto &member : members_) unread_ += member->length();  // as for sources that are not read
  }
};

}  // namespace peephole
