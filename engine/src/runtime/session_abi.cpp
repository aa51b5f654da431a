// The C functions of a session: a search that sources join and leave at any step.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "predict/session.h"
#include "runtime/prediction.h"
#include "runtime/result.h"

struct peephole_session {
  peephole_session(int threads, int64_t places) : session(threads, places) {}
  std::vector<const peephole_model *> models;
  peephole::Session session;
};

namespace peephole {
namespace {

// A peephole_answers with its memory.
struct Answers : peephole_answers {
  Result found;
  std::vector<int64_t> all_tickets;
  std::vector<std::string> messages;
  std::vector<const char *> all_errors;
};

// One line: why a source failed.
std::string message_of(const std::exception_ptr &error) {
  char message[256] = "";
  answer(message, sizeof message, [&] { std::rethrow_exception(error); });
  return message;
}

void gather(std::vector<Answer> given, Answers &to) {
  std::vector<std::vector<Found>> found;
  to.messages.reserve(given.size());  // so that the texts stay where they are
  for (Answer &answer : given) {
    for (Found &target : answer.found) {  // other targets of this result may have none
      target.top_symbols.clear();
      target.top_log_probs.clear();
    }
    to.all_tickets.push_back(answer.ticket);
    to.messages.push_back(answer.error ? message_of(answer.error) : "");
    to.all_errors.push_back(answer.error ? to.messages.back().c_str() : nullptr);
    found.push_back(std::move(answer.found));
  }
  to.found.gather(found);
  to.num_sources = int64_t(to.all_tickets.size());
  to.tickets = to.all_tickets.data();
  to.errors = to.all_errors.data();
  to.result = &to.found;
}

// The request is for one source and the models of the session.
void check_fits(const peephole_session &session, const peephole_request &r) {
  if (r.num_sources != 1) refuse("sources: wanted 1, got " + number(r.num_sources));
  check_given("models", r.models);
  if (r.num_models != int64_t(session.models.size()) || !std::equal(session.models.begin(), session.models.end(), r.models))
    refuse("models: wanted those of the session, got others");
}

}  // namespace
}  // namespace peephole

peephole_session *peephole_session_open(const peephole_model *const *models, int64_t num_models, int32_t threads,
                                        int64_t places, char *message, size_t message_size) {
  auto opened = std::unique_ptr<peephole_session>();
  const peephole_status status = peephole::answer(message, message_size, [&] {
    peephole::check_models("models", models, num_models);
    peephole::check_at_least("threads", 1, threads);
    peephole::check_at_least("places", 1, places);
    opened = std::make_unique<peephole_session>(threads, places);
    opened->models.assign(models, models + num_models);
  });
  return status == PEEPHOLE_OK ? opened.release() : nullptr;
}

void peephole_session_close(peephole_session *session) { delete session; }

peephole_status peephole_session_add(peephole_session *session, int64_t ticket, const peephole_request *request, char *message,
                                     size_t message_size) {
  return peephole::answer(message, message_size, [&] {
    peephole::check_given("session", session);
    peephole::check_given("request", request);
    peephole::check_fits(*session, *request);
    peephole::check_request(*request);
    session->session.add(ticket, peephole::make_searcher(*request), *request);
  });
}

peephole_status peephole_session_step(peephole_session *session, peephole_answers **answers, char *message,
                                      size_t message_size) {
  return peephole::answer(message, message_size, [&] {
    peephole::check_given("session", session);
    peephole::check_given("answers", answers);
    auto gathered = std::make_unique<peephole::Answers>();
    peephole::gather(session->session.step(), *gathered);
    *answers = gathered.release();
  });
}

void peephole_answers_release(peephole_answers *answers) { delete static_cast<peephole::Answers *>(answers); }

int32_t peephole_session_cancel(peephole_session *session, int64_t ticket) { return session->session.cancel(ticket); }

void peephole_session_count(const peephole_session *session, int64_t *active, int64_t *waiting, int64_t *free_places) {
  const peephole::SessionCounts counts = session->session.counts();
  *active = counts.active;
  *waiting = counts.waiting;
  *free_places = counts.free;
}
