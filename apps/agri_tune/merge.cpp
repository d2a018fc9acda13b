#include <nlohmann/json.hpp>

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/settings.h"
#include "data_loaders/text/tokenizer_json_writer.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/hf_writer.h"
#include "peft_core/checkpoint/staged_folder.h"
#include "pipelines/language/merge_check.h"
#include "pipelines/progress_line.h"
#include "pipelines/stop_signal.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;

/// As asked, else the base's own. Quantised weights are fp16 scales times small whole numbers, to which f16 comes eight times closer than
/// bf16 at the same size.
at::ScalarType chosen_dtype(const std::string& type, at::ScalarType stored) {
  if (type == "f32") return at::kFloat;
  if (type == "bf16") return at::kBFloat16;
  return type == "f16" || stored == at::kByte ? at::kHalf : stored;
}

std::string name_of(at::ScalarType dtype) { return dtype == at::kFloat ? "f32" : dtype == at::kHalf ? "f16" : "bf16"; }

/// Everything but the weights.
void write_companions(const LanguageModel& language, const std::filesystem::path& folder, at::ScalarType dtype) {
  const auto& base = language.files;
  peft::HfTokenRoles roles;
  if (base.is_gguf) {
    const auto specials = data::write_hf_tokenizer(base.path, folder, base.config.max_positions);
    roles = {specials.bos, specials.eos, specials.pad};
    nlohmann::ordered_json generation = {{"_from_model_config", true}};
    peft::add_token_roles(generation, roles);
    write_json_file(folder / "generation_config.json", generation);
  } else {
    peft::copy_hf_companions(base.path, folder);
  }
  write_json_file(folder / "config.json", peft::hf_config(base, dtype, peft::head_stays_tied(*language.model), roles));
}

int64_t weight_bytes(const std::filesystem::path& folder) {
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

}  // namespace

void merge(const Invocation& call) {
  peft::StagedFolder folder(call.out_dir);
  const StopSignal stop;
  const auto unmerged = load_unmerged(call.model, call.adapter, read_settings(call).base);
  const auto& language = unmerged.language;
  const auto dtype = chosen_dtype(call.type, language.files.weights->stored_dtype());
  write_companions(language, folder.path(), dtype);
  const auto exact = probe_logits(*language.model);
  log_info("writing " + name_of(dtype) + " weights");
  const auto roundings = peft::write_hf_weights(folder.path(), peft::merged_tensors(*language.model),
                                                {.dtype = dtype,
                                                 .before_tensor = [&](const std::string&) { stop.expect_none(call.out_dir); },
                                                 .rounding = call.rounding == "update" ? peft::Rounding::kUpdate : peft::Rounding::kNearest});
  // Measured before the folder gets its name: a folder that stands there has been read back.
  const auto difference = difference_of_written(folder.path(), exact);
  const auto bytes = weight_bytes(folder.path());
  stop.expect_none(call.out_dir);
  folder.commit();
  log_info(call.out_dir + ": " + format_bytes(bytes) + "; " + error_line(difference, roundings));
  nlohmann::ordered_json report = {{"out", call.out_dir}, {"type", name_of(dtype)}, {"weight_bytes", bytes},
                                   {"tied_head", peft::head_stays_tied(*language.model)}, {"method", unmerged.method}};
  report.update(error_report(difference, roundings));
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::agri
