#include "peft_core/methods/low_rank/adalora.h"
#include "peft_core/methods/low_rank/astra.h"
#include "peft_core/methods/low_rank/dora.h"
#include "peft_core/methods/low_rank/eva.h"
#include "peft_core/methods/low_rank/gralora.h"
#include "peft_core/methods/low_rank/hira.h"
#include "peft_core/methods/low_rank/id_lora.h"
#include "peft_core/methods/low_rank/lily.h"
#include "peft_core/methods/low_rank/lite_lora.h"
#include "peft_core/methods/low_rank/loftq.h"
#include "peft_core/methods/low_rank/lora.h"
#include "peft_core/methods/low_rank/lora_fa.h"
#include "peft_core/methods/low_rank/lora_ga.h"
#include "peft_core/methods/low_rank/lora_plus.h"
#include "peft_core/methods/low_rank/na_lora.h"
#include "peft_core/methods/low_rank/nora.h"
#include "peft_core/methods/low_rank/olora.h"
#include "peft_core/methods/low_rank/orthogonal.h"
#include "peft_core/methods/low_rank/output_lora.h"
#include "peft_core/methods/low_rank/pissa.h"
#include "peft_core/methods/low_rank/randlora.h"
#include "peft_core/methods/low_rank/vb_lora.h"
#include "peft_core/methods/low_rank/vera.h"
#include "peft_core/methods/method.h"
#include "peft_core/methods/released/bitfit.h"
#include "peft_core/methods/released/norm_tuning.h"
#include "peft_core/methods/released/trainable_tokens.h"
#include "peft_core/methods/sequence/bottleneck.h"
#include "peft_core/methods/sequence/hrm.h"
#include "peft_core/methods/sequence/prefix_tuning.h"
#include "peft_core/methods/sequence/prompt_tuning.h"
#include "peft_core/methods/spectral/c3a.h"
#include "peft_core/methods/spectral/fourierft.h"
#include "peft_core/methods/spectral/frame.h"
#include "peft_core/methods/structured/hra.h"
#include "peft_core/methods/structured/ia3.h"
#include "peft_core/methods/structured/loha.h"
#include "peft_core/methods/structured/lokr.h"
#include "peft_core/methods/structured/miss.h"
#include "peft_core/methods/structured/oft.h"
#include "peft_core/methods/structured/shira.h"

namespace graft::peft {

// An explicit list: static objects that register themselves vanish silently from static libraries.
const std::vector<MethodSpec>& builtin_methods() {
  static const std::vector<MethodSpec> methods = {
      lora_method(),
      dora_method(),
      lora_plus_method(),
      lora_fa_method(),
      pissa_method(),
      olora_method(),
      orthogonal_method(),
      eva_method(),
      loftq_method(),
      lora_ga_method(),
      astra_method(),
      nora_method(),
      output_lora_method(),
      id_lora_method(),
      na_lora_method(),
      lite_lora_method(),
      adalora_method(),
      vera_method(),
      randlora_method(),
      vb_lora_method(),
      gralora_method(),
      hira_method(),
      lily_method(),
      loha_method(),
      lokr_method(),
      miss_method(),
      oft_method(),
      hra_method(),
      ia3_method(),
      shira_method(),
      fourierft_method(),
      c3a_method(),
      frame_method(),
      bitfit_method(),
      norm_tuning_method(),
      trainable_tokens_method(),
      prompt_tuning_method(),
      prefix_tuning_method(),
      bottleneck_method(),
      hrm_method(),
  };
  return methods;
}

}  // namespace graft::peft
