#include "apps/agri_tune/agri_tune.h"

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/settings.h"

namespace graft::apps {

using pipelines::Option;

pipelines::App agri_tune() {
  return {.name = "agri_tune",
          .summary = "fine-tunes language models on agricultural text, on your own machine",
          .commands = {
              {.name = "train",
               .summary = "fit an adapter to instruction data",
               .needs = {{Option::kModel}, {Option::kData}, {Option::kOut}},
               .takes = {Option::kEvalData, Option::kMethod, Option::kConfig, Option::kSet, Option::kInitAdapter, Option::kResume,
                         Option::kDryRun, Option::kSeed},
               .run = agri::train,
               .settings_help = agri::settings_help},
              {.name = "eval",
               .summary = "perplexity, multiple choice or answers on a data set",
               .needs = {{Option::kModel}, {Option::kData}, {Option::kTask}, {Option::kOut}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kMaxNewTokens, Option::kSeed},
               .choices = {{Option::kTask, {"perplexity", "choice", "answer"}}},
               .run = agri::eval,
               .settings_help = agri::settings_help},
              {.name = "predict",
               .summary = "answer a prompt or each row of a file",
               .needs = {{Option::kModel}, {Option::kPrompt, Option::kData}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kMaxNewTokens, Option::kTemperature, Option::kSeed},
               .run = agri::predict,
               .settings_help = agri::settings_help},
              {.name = "chat",
               .summary = "talk to the model in the terminal",
               .needs = {{Option::kModel}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kMaxNewTokens, Option::kTemperature, Option::kSeed},
               .run = agri::chat,
               .settings_help = agri::settings_help},
              {.name = "prepare",
               .summary = "check, deduplicate, split and tokenise data",
               .needs = {{Option::kData}, {Option::kOut}},
               .takes = {Option::kModel, Option::kEvalData, Option::kConfig, Option::kSet, Option::kFormat, Option::kSeed},
               .choices = {{Option::kFormat, {"openai", "alpaca"}}},
               .run = agri::prepare,
               .settings_help = agri::settings_help},
              {.name = "merge",
               .summary = "fold an adapter into the weights and write a Hugging Face folder",
               .needs = {{Option::kModel}, {Option::kAdapter}, {Option::kOut}},
               .takes = {Option::kConfig, Option::kSet, Option::kType},
               .choices = {{Option::kType, {"bf16", "f16", "f32"}}},
               .run = agri::merge,
               .settings_help = agri::settings_help},
              {.name = "export",
               .summary = "write a GGUF model or a GGUF LoRA adapter",
               .needs = {{Option::kModel}, {Option::kFormat}, {Option::kOut}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kType},
               .choices = {{Option::kFormat, {"gguf", "gguf-lora"}}, {Option::kType, {"f16", "bf16", "q8_0"}}},
               .run = agri::export_model,
               .settings_help = agri::settings_help},
              {.name = "inspect",
               .summary = "shapes, parameters, memory plan, token ids, logits, methods",
               .needs = {{Option::kModel, Option::kMethods}},
               .takes = {Option::kAdapter, Option::kMethod, Option::kConfig, Option::kSet, Option::kTokenize, Option::kLogits,
                         Option::kOut},
               .run = agri::inspect,
               .settings_help = agri::settings_help},
          }};
}

}  // namespace graft::apps
