#include "bench/machine/report.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/base/cpu_features.h"
#include "kernels/kernel_list.h"
#include "kernels/tiles/tiles.h"
#include "pipelines/build_info.h"

namespace graft::bench {
namespace {

using Json = nlohmann::ordered_json;

template <class... Values>
void print(fmt::format_string<Values...> text, Values&&... values) {
  fmt::print(text, std::forward<Values>(values)...);
  std::fflush(stdout);
}

Json to_json(const Spread& spread) { return {{"median", spread.median}, {"smallest", spread.smallest}, {"largest", spread.largest}}; }

std::string milliseconds(const Spread& seconds) {
  const int digits = seconds.median < 0.01 ? 3 : seconds.median < 1 ? 1 : 0;
  return fmt::format("{:.{}f} ({:.{}f}-{:.{}f})", seconds.median * 1e3, digits, seconds.smallest * 1e3, digits, seconds.largest * 1e3, digits);
}

/// The project's targets are for processors with AMX.
bool has_target(const Row& row) { return row.target && kernels::amx_tiles_supported(); }

std::string target_text(const Row& row) {
  if (!has_target(row)) return "";
  return fmt::format("{:.4g} {}", *row.target, row.turns.ratio.median >= *row.target ? "met" : "MISSED");
}

/// What prepare_process() found: it lets idle threads sleep at once where other programs fill the cores.
bool machine_was_busy() {
  const char* policy = std::getenv("OMP_WAIT_POLICY");
  return policy != nullptr && std::strcmp(policy, "passive") == 0;
}

double shown_rate(const Row& row) { return row.work / row.turns.ours.median / (std::strcmp(row.unit, "tokens/s") == 0 ? 1.0 : 1e9); }

}  // namespace

void Report::print_machine(int threads, bool quick) {
  const auto& info = pipelines::build_info();
  const auto& cpu = kernels::processor_features();
  print("{}, {} threads; graft {}, LibTorch {}{}\n", cpu.brand, threads, info.commit, info.libtorch, quick ? "; --quick" : "");
  json_ = {{"processor", cpu.brand}, {"threads", threads}, {"commit", info.commit}, {"libtorch", info.libtorch}, {"compiler", info.compiler},
           {"quick", quick},         {"limit", kernels::cpu_limit()},  {"busy", machine_was_busy()}};
  if (machine_was_busy()) print("  other work fills the cores, so idle threads sleep at once: short operators look slower; not for quoting\n");
  for (const auto& use : kernels::kernel_uses()) {
    print("  {:<16} {:<10} {}\n", use.name, use.chosen, use.why);
    json_["kernels"][use.name] = use.chosen;
  }
}

void Report::print_ceilings(const Ceilings& ceilings) {
  print("\nceilings of this machine (best of several runs, random data)\n");
  const std::pair<const char*, double> arithmetic[] = {{"AMX bf16, operands in L1", ceilings.tiles_bf16},
                                                       {"AVX512-BF16, in registers", ceilings.vectors_bf16},
                                                       {"fp32 multiply-add, in registers", ceilings.vectors_fp32}};
  for (const auto& [name, rate] : arithmetic) {
    if (rate > 0) print("  {:<32} {:8.0f} GFLOP/s\n", name, rate / 1e9);
  }
  json_["ceilings"] = {{"tiles_bf16", ceilings.tiles_bf16}, {"vectors_bf16", ceilings.vectors_bf16}, {"vectors_fp32", ceilings.vectors_fp32}};
  for (const auto& level : ceilings.memory) {
    print("  {:<4} {:7.0f} MiB   read {:6.1f}   write {:6.1f}   write past caches {:6.1f} GB/s\n", level.name,
          static_cast<double>(level.measured_at) / (1 << 20), level.read / 1e9, level.write / 1e9, level.write_past_caches / 1e9);
    json_["ceilings"]["memory"].push_back({{"name", level.name}, {"bytes", level.measured_at}, {"read", level.read}, {"write", level.write},
                                           {"write_past_caches", level.write_past_caches}});
  }
}

void Report::section(const std::string& title, const std::string& ours, const std::string& theirs) {
  section_ = title;
  print("\n{:<36} {:>24} {:>26} {:>20} {:>12} {:>18} {:>11}\n", title, ours + ", ms", theirs + ", ms", "ratio", "target", "ours", "of ceiling");
}

void Report::add(const Row& row) {
  const auto& ratio = row.turns.ratio;
  const double share = row.least_seconds / row.turns.ours.median;
  const auto target = target_text(row);
  print("  {:<34} {:>24} {:>26} {:>20} {:>12} {:>9.0f} {:<8} {:>9.0f} %  {}\n", row.name, milliseconds(row.turns.ours),
        milliseconds(row.turns.theirs), fmt::format("{:.2f} ({:.2f}-{:.2f})", ratio.median, ratio.smallest, ratio.largest), target,
        shown_rate(row), row.unit, 100 * share, row.note);
  Json entry = {{"section", section_},     {"name", row.name},         {"rounds", row.turns.rounds}, {"ours_seconds", to_json(row.turns.ours)},
                {"theirs_seconds", to_json(row.turns.theirs)}, {"ratio", to_json(ratio)}, {"ours_rate", shown_rate(row)},
                {"unit", row.unit},        {"work", row.work},         {"share_of_ceiling", share}, {"note", row.note}};
  if (has_target(row)) {
    entry["target"] = *row.target;
    targets_.push_back(fmt::format("  {:<48} {:>6.2f}   target {}", section_ + ": " + row.name, ratio.median, target));
  }
  json_["rows"].push_back(entry);
}

void Report::print_targets() const {
  if (targets_.empty()) return;
  print("\nthe project's targets (ratio of medians of neighbouring runs)\n");
  for (const auto& line : targets_) print("{}\n", line);
}

}  // namespace graft::bench
