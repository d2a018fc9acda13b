#include "apps/agri_tune/data_sets.h"

#include "data_loaders/text/duplicates.h"
#include "data_loaders/text/split.h"
#include "peft_core/base/log.h"

namespace graft::apps::agri {
namespace {

std::string count(size_t n) { return std::to_string(n); }

void note_report(const data::DataReport& report, DataSets& sets) {
  sets.files.insert(sets.files.end(), report.files.begin(), report.files.end());
  for (const auto& bad : report.bad_rows) sets.findings.problems.push_back(bad.place + ": " + bad.reason);
  sets.found.rows += report.row_count();
  sets.found.bad_rows += report.bad_row_count();
  (report.bad_row_count() > 0 ? log_warning : log_info)(data::to_text(report));
}

void drop_duplicates(const std::string& how, DataSets& sets) {
  if (how == "off") return;
  const auto duplicates = data::find_duplicates(sets.train, {.near = how == "near"});
  for (const auto& duplicate : duplicates)
    ++(duplicate.likeness == data::Likeness::kExact ? sets.found.exact_duplicates : sets.found.near_duplicates);
  sets.findings.counts.push_back({how == "near" ? "Exact and near duplicates dropped" : "Exact duplicates dropped", count(duplicates.size())});
  if (duplicates.empty()) return;
  log_warning(data::to_text(duplicates, sets.train, 3));
  sets.train = data::without_duplicates(std::move(sets.train), duplicates);
}

void drop_overlap(bool drop, DataSets& sets) {
  if (sets.held_out.empty()) return;
  const auto overlaps = data::find_overlaps(sets.train, sets.held_out);
  sets.found.overlaps = static_cast<int64_t>(overlaps.size());
  sets.findings.counts.push_back({std::string("Training rows with a held-out question") + (drop ? " (dropped)" : " (kept)"), count(overlaps.size())});
  if (overlaps.empty()) return;
  log_warning(data::to_text(overlaps, sets.train, sets.held_out, 3));
  if (drop) sets.train = data::without_overlaps(std::move(sets.train), overlaps);
}

}  // namespace

data::ReadOptions read_options(const data::DataConfig& config) {
  return {.format = data::record_format(config.format), .bad_row_limit = config.bad_row_limit};
}

DataSets read_data_sets(const std::vector<std::string>& train, const std::string& held_out, const data::DataConfig& config,
                        uint64_t seed) {
  DataSets sets;
  auto read = data::read_records(train, read_options(config));
  note_report(read.report, sets);
  sets.findings.counts.push_back({"Rows read", count(static_cast<size_t>(read.report.row_count()))});
  sets.findings.counts.push_back({"Bad rows", count(static_cast<size_t>(read.report.bad_row_count()))});
  sets.train = std::move(read.records);
  if (!held_out.empty()) {
    auto evaluation = data::read_records({held_out}, read_options(config));
    note_report(evaluation.report, sets);
    sets.held_out = std::move(evaluation.records);
  } else if (config.eval_share > 0) {
    const auto split = data::split_by_source(sets.train, config.eval_share, seed);
    log_info(data::to_text(split));
    sets.held_out = data::take(sets.train, split.held_out);
    sets.train = data::take(sets.train, split.train);
  }
  drop_duplicates(config.deduplicate, sets);
  drop_overlap(config.drop_overlap, sets);
  sets.findings.counts.push_back({"Training rows used", count(sets.train.size())});
  sets.findings.counts.push_back({"Held-out rows", count(sets.held_out.size())});
  return sets;
}

}  // namespace graft::apps::agri
