#include "pipelines/cli/option_table.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace graft::pipelines {

const std::vector<OptionRow>& option_table() {
  using enum Option;
  using I = Invocation;
  static const std::vector<OptionRow> table = {
      {kModel, "--model", "DIR|FILE.gguf", "the pretrained model: a Hugging Face folder or a GGUF file", &I::model},
      {kData, "--data", "FILE...", "training, evaluation or prompt data", &I::data},
      {kEvalData, "--eval-data", "FILE", "held-out data", &I::eval_data},
      {kMethod, "--method", "NAME", "what is trained; the same as --set method.name=NAME", &I::method},
      {kConfig, "--config", "FILE", "settings in YAML", &I::config_file},
      {kSet, "--set", "KEY=VALUE...", "one setting; wins over --config", &I::settings},
      {kAdapter, "--adapter", "RUN|DIR", "a trained adapter", &I::adapter},
      {kInitAdapter, "--init-adapter", "DIR", "start from this adapter", &I::init_adapter},
      {kResume, "--resume", "", "go on with the run in --out", &I::resume},
      {kDryRun, "--dry-run", "", "check everything, print the memory plan, stop", &I::dry_run},
      {kOut, "--out", "PATH", "where results go", &I::out_dir},
      {kTask, "--task", "NAME", "what is measured", &I::task},
      {kPrompt, "--prompt", "TEXT", "one question", &I::prompt},
      {kMaxNewTokens, "--max-new-tokens", "N", "longest answer, in tokens", &I::max_new_tokens},
      {kTemperature, "--temperature", "T", "0 picks the likeliest token, higher is more varied", &I::temperature},
      {kFormat, "--format", "NAME", "file format", &I::format},
      {kType, "--type", "NAME", "number type of the weights", &I::type},
      {kSeed, "--seed", "N", "of all random numbers; the same as --set train.seed=N", &I::seed},
      {kKernels, "--kernels", "NAME", "which kernels run; cpu: no GPU; reference: plain and slow, for checking", &I::kernels,
       {"auto", "reference", "cpu", "cuda"}},
      {kTokenize, "--tokenize", "FILE", "print the token ids of each line as JSON", &I::tokenize},
      {kLogits, "--logits", "FILE.json", "lists of token ids; their logits go to --out", &I::logits},
      {kMethods, "--methods", "", "list the methods", &I::list_methods},
      {kInput, "--input", "FILE|DIR", "what is looked at", &I::input},
      {kClasses, "--classes", "A,B,C", "names of the classes", &I::classes},
      {kClassesFile, "--classes-file", "FILE", "names of the classes, one a line", &I::classes_file},
      {kShots, "--shots", "K", "labelled samples of each class at most", &I::shots},
      {kSource, "--source", "DIR", "labelled data of the domain that is known", &I::source},
      {kTarget, "--target", "DIR", "data of the domain to adapt to; its labels are never opened", &I::target},
      {kAdapters, "--adapters", "[NAME=]RUN|DIR...", "several trained adapters", &I::adapters},
      {kWeights, "--weights", "W...", "how much each of the adapters counts, in their order; 1 without it", &I::weights},
      {kCombination, "--combination", "NAME", "how adapters become one", &I::combination},
      {kDensity, "--density", "D", "share of the values that pruning keeps, 0 to 1", &I::density},
      {kMajoritySign, "--majority-sign", "NAME", "what decides a sign: sums of values or numbers of signs", &I::majority_sign,
       {"total", "frequency"}},
      {kRank, "--rank", "R", "of the adapter that is written", &I::rank},
      {kRounding, "--rounding", "NAME", "nearest: each weight by itself; update: what the adapter changed survives the rounding", &I::rounding,
       {"nearest", "update"}},
      {kQuiet, "--quiet", "", "only warnings and errors on stderr", &I::quiet},
      {kHelp, "--help", "", "this text", &I::help},
  };
  return table;
}

const OptionRow& row_of(Option option) {
  const auto& table = option_table();
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& row) { return row.option == option; });
  GRAFT_ASSERT(found != table.end());
  return *found;
}

const std::vector<std::string>& choices_of(const Command& command, const OptionRow& row) {
  const auto found = command.choices.find(row.option);
  return found == command.choices.end() ? row.choices : found->second;
}

bool command_takes(const Command& command, Option option) {
  const auto in = [&](const std::vector<Option>& options) {
    return std::find(options.begin(), options.end(), option) != options.end();
  };
  return option == Option::kHelp || option == Option::kQuiet || option == Option::kKernels || in(command.takes) ||
         std::any_of(command.needs.begin(), command.needs.end(), in);
}

}  // namespace graft::pipelines
