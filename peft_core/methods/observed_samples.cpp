#include "peft_core/methods/observed_samples.h"

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

/// Slots that are watched until this goes.
class Watch {
 public:
  ~Watch() {
    for (auto* slot : slots_) slot->observe({});
  }
  void add(LinearSlot* slot, LinearSlot::Observer observer) {
    slot->observe(std::move(observer));
    slots_.push_back(slot);
  }
  bool empty() const { return slots_.empty(); }
  const std::vector<LinearSlot*>& slots() const { return slots_; }

 private:
  std::vector<LinearSlot*> slots_;
};

}  // namespace

void observe_samples(const std::vector<LinearSlot*>& slots, const AttachContext& context, bool gradients, const Gathering& gathering,
                     const std::string& method, int64_t budget) {
  if (context.calibration == nullptr)
    throw InvalidArgument({.where = "method.name", .what = method + " starts from samples of the task, and there are none here",
                           .hint = "train with --data, or load an adapter that was trained"});
  for (auto next = slots.begin(); next != slots.end();) {
    std::vector<LinearSlot*> group;
    {
      Watch watch;
      for (int64_t used = 0; next != slots.end(); ++next) {
        used += gathering.bytes(**next);
        if (used > budget && !watch.empty()) break;
        watch.add(*next, gathering.begin(**next));
      }
      context.calibration->run(gradients);
      group = watch.slots();
    }
    const at::NoGradGuard no_gradient;
    for (const auto* slot : group) gathering.end(*slot);
  }
}

}  // namespace graft::peft
