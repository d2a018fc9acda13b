#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "peft_core/base/config_node.h"
#include "peft_core/slots/targets.h"

namespace graft::peft {

/// Published name (without PEFT's "base_model.model." prefix) -> tensor.
using AdapterState = std::map<std::string, at::Tensor>;

/// Trainable leaves that an optimizer may treat alike: "lora_A", "lora_B", "biases", "norms".
struct TrainableGroup {
  std::string name;
  NamedTensors parameters;
  bool weight_decay = true;             ///< false for biases, norms and numbers that decay would pull somewhere
  double learning_rate_factor = 1.0;
};

/// Samples of the task, for methods whose start depends on data.
class Calibration {
 public:
  virtual ~Calibration() = default;
  /// Runs all samples through the model, in their order, and their loss back where `gradients`; observers at the slots see what passes.
  virtual void run(bool gradients) const = 0;
};

/// What a method is told when it is attached.
struct AttachContext {
  AttachContext(uint64_t start_seed, const Calibration* samples = nullptr, bool from_file = false)
      : seed(start_seed), calibration(samples), restoring(from_file) {}

  uint64_t seed;                   ///< decides random starts
  const Calibration* calibration;  ///< null: there is no data at hand
  bool restoring;                  ///< all saved tensors will be overwritten, so nothing need be computed for their start
  /// Token ids of a text, as a whole input of the model; empty: there is no tokenizer at hand.
  std::function<std::vector<int64_t>(const std::string& text)> token_ids;
};

/// A method at work on one model. It owns its adapters; the model's slots share them.
class Attachment {
 public:
  virtual ~Attachment() = default;

  virtual std::vector<TrainableGroup> trainable() const = 0;
  /// Added to the loss where defined: balance, KL, orthogonality.
  virtual at::Tensor auxiliary_loss() const { return {}; }
  /// After each optimizer step; true if parameters were replaced.
  virtual bool after_step(int64_t step) {
    (void)step;
    return false;
  }
  /// True if a trainable tensor may be without effect for many steps: layers that fall out at random, experts that are seldom asked.
  virtual bool parts_may_rest() const { return false; }
  /// What is saved, under the published names; shares memory with the leaves.
  virtual AdapterState state() const = 0;
  /// `adapter_config.json` as Hugging Face PEFT writes it, without the keys that every method shares.
  virtual nlohmann::json published_config() const = 0;
  /// Gives every slot its base back, exactly.
  virtual void detach() = 0;
  /// Folds the adapters into dense bases of `dtype`; throws InvalidArgument where traits.mergeable is false.
  virtual void merge(at::ScalarType dtype) = 0;
  /// Takes what the passes read to `device`, after CausalLm::move_to() took the model there. Starts are computed before, and merge() is called
  /// after it has been brought back: both work on weights in the processor's memory.
  virtual void move_to(at::Device device);
  /// What a file holds: state(), where the method's files leave nothing out.
  virtual AdapterState saved_state() const { return state(); }

  /// Before the first step of a run that has so many, resumed or not; for methods with a schedule.
  virtual void begin_training(int64_t total_steps) { (void)total_steps; }
  /// Before each optimizer step. The leaves' gradients are those of the whole step; the optimizer takes them times `gradient_scale` (clipping)
  /// and clears them.
  virtual void before_step(int64_t step, double gradient_scale) { (void)step, (void)gradient_scale; }
  /// Tensors beside state() that training needs to go on. Checkpoints hold them, and a resumed run gets their values back in place; so they
  /// are there, and have their sizes, from begin_training() on.
  virtual NamedTensors training_state() const { return {}; }
};

/// Promises, each one tested by the conformance suite.
struct MethodTraits {
  bool identity_at_start = true;
  bool mergeable = true;
  bool exact_gradient = true;
  bool needs_calibration = false;  ///< its start is computed from samples of the task
  bool on_quantised_files = true;  ///< false: the weights have to be at hand as they were before they were quantised
  bool identity_up_to_rounding = false;  ///< with identity_at_start: what is added is a product that is zero in exact arithmetic only
  bool chooses_parts = false;  ///< it sends tokens to some of its parts: rounding may make it choose otherwise, and a small change is then a large one
};

/// How a method's files are told from others'.
struct PublishedForm {
  std::string peft_type;                   ///< "LORA", ...
  std::vector<std::string> keys;           ///< of adapter_config.json that it reads or writes
  std::vector<std::string> tensor_marks;   ///< a tensor whose name holds one of these is the method's own; others are saved modules
  bool named_by_layer = true;              ///< false: its tensors belong to no layer and stand without PEFT's prefix "base_model.model."
};

struct MethodSpec {
  std::string name;
  std::string paper;
  std::string use_when;    ///< one line for `inspect --methods`
  std::string parameters;  ///< formula of the trainable parameter count
  MethodTraits traits;
  /// Reads its options from the `method` section and changes the model's places.
  std::function<std::unique_ptr<Attachment>(Places& places, const ConfigNode& config, const AttachContext& context)> attach;
  /// The `method` section that stands for a published adapter_config.json; none if the file belongs to another method.
  std::function<std::optional<ConfigNode>(const nlohmann::json& published)> from_published;
  /// The resolved `method` section, all keys and defaults, as YAML.
  std::function<std::string(const ConfigNode& config)> resolved;
  /// What its files look like, beside what all adapters share.
  PublishedForm published;
};

/// All methods, in the order of the list in builtin_methods.cpp.
const std::vector<MethodSpec>& builtin_methods();
/// Throws InvalidArgument with the nearest and all known names.
const MethodSpec& find_method(const std::string& name);

/// Copies values into a method's leaves. Throws InvalidArgument naming the tensor: missing, unexpected, or of another shape.
void load_state(Attachment& attachment, const AdapterState& values, const std::string& where);

}  // namespace graft::peft
