#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "peft_core/base/config_node.h"

namespace graft::pipelines {

/// The options that all applications share, one spelling each. A command takes those it lists; --help, --quiet, --kernels and
/// --version are there everywhere.
enum class Option {
  kModel, kData, kEvalData, kMethod, kConfig, kSet, kAdapter, kInitAdapter, kResume, kDryRun, kOut, kTask, kPrompt,
  kMaxNewTokens, kTemperature, kFormat, kType, kSeed, kKernels, kTokenize, kLogits, kMethods,
  kInput, kClasses, kClassesFile, kShots, kSource, kTarget,
  kAdapters, kWeights, kCombination, kDensity, kMajoritySign, kRank, kRounding, kQuiet, kHelp
};

/// What a user asked for. Options that were not given are empty.
struct Invocation {
  std::string app, command;
  std::string command_line;          ///< as typed, quoted where needed; for the manifest

  std::string model;                 ///< --model DIR|FILE.gguf
  std::vector<std::string> data;     ///< --data FILE...
  std::string eval_data;             ///< --eval-data FILE
  std::string method;                ///< --method NAME; also in config as method.name
  std::string config_file;           ///< --config FILE
  std::vector<std::string> settings; ///< --set key=value...
  std::string adapter;               ///< --adapter RUN|DIR
  std::string init_adapter;          ///< --init-adapter DIR
  bool resume = false;
  bool dry_run = false;
  std::string out_dir;               ///< --out PATH
  std::string task, format, type;    ///< checked against the command's choices
  std::string prompt;
  std::optional<int64_t> max_new_tokens;
  std::optional<double> temperature;
  std::optional<int64_t> seed;       ///< --seed N; also in config as train.seed
  std::string kernels;               ///< --kernels auto|reference|cpu|cuda
  std::string tokenize, logits;
  bool list_methods = false;         ///< --methods
  std::string input;                 ///< --input FILE|DIR
  std::string classes, classes_file; ///< --classes A,B,C, --classes-file FILE
  std::optional<int64_t> shots;      ///< --shots K
  std::string source, target;        ///< --source DIR, --target DIR
  std::vector<std::string> adapters; ///< --adapters [NAME=]RUN|DIR...
  std::vector<std::string> weights;  ///< --weights W...
  std::string combination;           ///< --combination NAME
  std::optional<double> density;     ///< --density D
  std::string majority_sign;         ///< --majority-sign total|frequency
  std::optional<int64_t> rank;       ///< --rank R
  std::string rounding;              ///< --rounding nearest|update
  bool quiet = false;
  bool help = false;

  std::set<Option> given;
  /// --config, then --method and --seed, then --set; later ones win.
  ConfigNode config;
  std::ostream* out = nullptr;       ///< results only
  std::ostream* err = nullptr;

  bool has(Option option) const { return given.contains(option); }
};

}  // namespace graft::pipelines
