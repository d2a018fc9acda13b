#include <map>
#include <nlohmann/json.hpp>

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/settings.h"
#include "data_loaders/text/tokenizer_gguf_writer.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/gguf_export.h"
#include "peft_core/checkpoint/gguf_lora.h"
#include "pipelines/language/merge_check.h"
#include "pipelines/progress_line.h"
#include "pipelines/stop_signal.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using kernels::GgmlType;

GgmlType chosen_type(const std::string& type) {
  static const std::map<std::string, GgmlType> types = {{"", GgmlType::kF16}, {"f16", GgmlType::kF16}, {"bf16", GgmlType::kBF16},
                                                        {"q8_0", GgmlType::kQ8_0}};
  return types.at(type);
}

/// What people will see as the model's name: that of the folder or file.
std::string shown_name(const std::filesystem::path& path) {
  const auto whole = std::filesystem::absolute(path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).stem().string();
}

/// Wrong use shows before minutes are spent on it.
void check_target(const Invocation& call) {
  const std::filesystem::path out = call.out_dir;
  if (out.extension() != ".gguf")
    throw InvalidArgument({.where = "--out", .what = "is not the name of a GGUF file", .expected = "a name that ends in .gguf",
                           .got = out.string()});
  if (std::filesystem::is_directory(out))
    throw InvalidArgument({.where = out.string(), .what = "is a folder", .expected = "the name of a file"});
  if (std::filesystem::exists(out) && std::filesystem::exists(call.model) && std::filesystem::equivalent(out, call.model))
    throw InvalidArgument({.where = "--out", .what = "is the base model itself", .hint = "name another file"});
  if (call.format == "gguf-lora" && call.adapter.empty())
    throw InvalidArgument({.where = "export", .what = "gguf-lora needs an adapter", .expected = "--adapter RUN|DIR"});
  std::error_code error;
  if (out.has_parent_path()) std::filesystem::create_directories(out.parent_path(), error);
  if (error) throw IoError({.where = out.string(), .what = "cannot make the folder above it: " + error.message()});
}

nlohmann::ordered_json export_adapter(const Invocation& call, const UnmergedModel& unmerged) {
  if (!unmerged.adapter)
    throw InvalidArgument({.where = call.adapter, .what = "is a mixture, and a GGUF adapter holds one adapter",
                           .hint = "make one of them with `agri_tune combine`"});
  const auto type = chosen_type(call.type);
  peft::write_gguf_lora(call.out_dir, *unmerged.language.model, *unmerged.adapter, type, shown_name(call.adapter));
  return {{"out", call.out_dir}, {"format", call.format}, {"type", peft::gguf_type_option(type)},
          {"bytes", std::filesystem::file_size(call.out_dir)}, {"tensors", unmerged.adapter->tensors.size()}};
}

nlohmann::ordered_json export_merged(const Invocation& call, const UnmergedModel& unmerged) {
  const StopSignal stop;
  const auto& language = unmerged.language;
  const auto type = chosen_type(call.type);
  const auto vocabulary = language.files.config.vocabulary;
  auto name = shown_name(call.model);
  if (!call.adapter.empty()) name.append(" ").append(shown_name(call.adapter));
  peft::GgufExport options{.type = type, .name = name, .tokenizer = data::gguf_tokenizer_entries(call.model, vocabulary)};
  options.rounding = call.rounding == "update" ? peft::Rounding::kUpdate : peft::Rounding::kNearest;
  options.before_tensor = [&](const std::string&) { stop.expect_none(call.out_dir); };
  const auto exact = probe_logits(*language.model);
  log_info("writing " + peft::gguf_type_option(type) + " weights");
  const auto roundings = peft::write_gguf_model(call.out_dir, *language.model, options);
  const auto difference = difference_of_written(call.out_dir, exact);
  const auto bytes = std::filesystem::file_size(call.out_dir);
  log_info(call.out_dir + ": " + format_bytes(static_cast<int64_t>(bytes)) + "; " + error_line(difference, roundings));
  nlohmann::ordered_json report = {{"out", call.out_dir}, {"format", call.format}, {"type", peft::gguf_type_option(type)}, {"bytes", bytes}};
  report.update(error_report(difference, roundings));
  return report;
}

}  // namespace

void export_model(const Invocation& call) {
  check_target(call);
  const auto unmerged = load_unmerged(call.model, call.adapter, read_settings(call).base);
  const auto report = call.format == "gguf-lora" ? export_adapter(call, unmerged) : export_merged(call, unmerged);
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::agri
