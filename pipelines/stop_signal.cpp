#include "pipelines/stop_signal.h"

#include <signal.h>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};
struct sigaction previous_actions[2];
volatile sig_atomic_t received_signal = 0;
bool installed = false;

void handle(int signal_number) {
  received_signal = signal_number;
  for (int i = 0; i < 2; ++i) {
    if (kSignals[i] == signal_number) ::sigaction(signal_number, &previous_actions[i], nullptr);
  }
}

}  // namespace

StopSignal::StopSignal() {
  GRAFT_ASSERT(!installed);
  installed = true;
  received_signal = 0;
  for (int i = 0; i < 2; ++i) {
    ::sigaction(kSignals[i], nullptr, &previous_actions[i]);
    if (previous_actions[i].sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (int i = 0; i < 2; ++i) ::sigaction(kSignals[i], &previous_actions[i], nullptr);
  installed = false;
}

const char* StopSignal::received() const {
  const int number = received_signal;
  return number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : nullptr;
}

void StopSignal::expect_none(const std::string& where) const {
  if (const auto* name = received())
    throw Unavailable({.where = where, .what = std::string("stopped by ") + name, .hint = "nothing was left there"});
}

}  // namespace graft::pipelines
