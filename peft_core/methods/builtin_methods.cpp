#include "peft_core/methods/released/bitfit.h"
#include "peft_core/methods/low_rank/dora.h"
#include "peft_core/methods/low_rank/lora.h"
#include "peft_core/methods/method.h"
#include "peft_core/methods/released/norm_tuning.h"

namespace graft::peft {

// An explicit list: static objects that register themselves vanish silently from static libraries.
const std::vector<MethodSpec>& builtin_methods() {
  static const std::vector<MethodSpec> methods = {
      lora_method(),
      dora_method(),
      bitfit_method(),
      norm_tuning_method(),
  };
  return methods;
}

}  // namespace graft::peft
