#include "pipelines/run_dir.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/memory_figures.h"
#include "peft_core/base/sha256.h"
#include "pipelines/build_info.h"

namespace graft::pipelines {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::array kTraces = {"manifest.json", "metrics.jsonl", "config.yaml", "checkpoint"};

std::string utc_now(const char* format) { return fmt::format(fmt::runtime(format), fmt::gmtime(std::time(nullptr))); }

std::string make_run_id() {
  return utc_now("{:%Y%m%d-%H%M%S}") + fmt::format("-{:06x}", std::random_device{}() & 0xffffffu);
}

Json read_manifest(const fs::path& folder) {
  const auto file = folder / "manifest.json";
  if (!fs::exists(file)) return Json::object();
  auto manifest = parse_ordered_json(read_file(file), file.string());
  if (!manifest.is_object()) throw IoError({.where = file.string(), .what = "is not a manifest", .expected = "a JSON object"});
  return manifest;
}

std::string id_in(const Json& manifest) {
  const auto found = manifest.find("run_id");
  return found != manifest.end() && found->is_string() ? found->get<std::string>() : "";
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    throw IoError({.where = path.string(), .what = "cannot be made: " + (error ? error.message() : "a file is in the way")});
  }
}

}  // namespace

RunDir RunDir::open(const fs::path& path, Opening opening) {
  make_folder(path);
  RunDir run;
  run.path_ = path;
  run.resumed_ = std::any_of(kTraces.begin(), kTraces.end(), [&](const char* name) { return fs::exists(path / name); });
  if (run.resumed_ && opening == Opening::kStart) {
    throw InvalidArgument({.where = path.string(), .what = "holds a run already", .hint = "--resume goes on with it; or choose another --out"});
  }
  run.run_id_ = id_in(read_manifest(path));
  if (run.run_id_.empty()) run.run_id_ = make_run_id();
  return run;
}

void RunDir::write_config(const std::string& yaml) const { write_file_atomically(path_ / "config.yaml", yaml); }

void RunDir::write_manifest(const RunFacts& facts) const {
  auto manifest = read_manifest(path_);
  const bool again = !id_in(manifest).empty();
  if (again) {
    manifest["resumed"].push_back({{"at", utc_now("{:%Y-%m-%dT%H:%M:%SZ}")}, {"command_line", facts.command_line}, {"build", build_facts()},
                                   {"kernels", kernels::name_of(kernels::chosen_kernels())}});
    return write_json_file(path_ / "manifest.json", manifest);
  }
  manifest["run_id"] = run_id_;
  manifest["started_at"] = utc_now("{:%Y-%m-%dT%H:%M:%SZ}");
  manifest["app"] = facts.app;
  manifest["command_line"] = facts.command_line;
  manifest["seed"] = facts.seed ? Json(*facts.seed) : Json(nullptr);
  manifest["model"] = {{"path", facts.model.string()}};
  manifest["data"] = Json::array();
  for (const auto& file : facts.data) manifest["data"].push_back(file_facts(file));
  manifest["build"] = build_facts();
  manifest["machine"] = machine_facts(facts.device);
  write_json_file(path_ / "manifest.json", manifest);
}

void RunDir::note(const std::string& key, const Json& value) const {
  auto manifest = read_manifest(path_);
  manifest[key] = value;
  write_json_file(path_ / "manifest.json", manifest);
}

Json build_facts() {
  const auto& info = build_info();
  const auto json_version = fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH);
  return {{"version", info.version},       {"commit", info.commit},     {"compiler", info.compiler},
          {"build_type", info.build_type}, {"libtorch", info.libtorch}, {"nlohmann_json", json_version}};
}

Json machine_facts(const std::string& device) {
  const auto& cpu = kernels::cpu_features();
  const auto memory = read_memory_figures();
  Json facts = {{"device", device}, {"kernels", device == "cpu" ? kernels::name_of(kernels::chosen_kernels()) : std::string_view("cuda")}};
  facts["cpu"] = cpu.brand;
  facts["threads"] = std::thread::hardware_concurrency();
  facts["features"] = {{"avx2", cpu.avx2}, {"avx512", cpu.avx512}, {"avx512_bf16", cpu.avx512_bf16}, {"amx_bf16", cpu.amx_bf16}};
  facts["memory_bytes"] = memory.total;
  facts["memory_limit_bytes"] = memory.limit ? Json(*memory.limit) : Json(nullptr);
  return facts;
}

Json file_facts(const fs::path& file) {
  const auto hash = sha256_of_file(file);  // complains if it is no readable file
  return {{"path", file.string()}, {"bytes", fs::file_size(file)}, {"sha256", hash}};
}

void write_json_lines(const fs::path& file, std::span<const Json> values) {
  write_file_atomically(file, [&](std::ostream& out) {
    for (const auto& value : values) out << to_json_line(value) << '\n';
  });
}

}  // namespace graft::pipelines
