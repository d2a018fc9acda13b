#include "data_loaders/text/split.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "data_loaders/text/hash64.h"
#include "kernels/base/error.h"

namespace graft::data {
namespace {

struct Group {
  std::vector<int64_t> rows;
  uint64_t rank = 0;
  bool held_out = false;
};

std::string source_key(const Record& record) {
  if (!record.source.empty()) return "source " + record.source;
  return "row " + record.file.filename().string() + ":" + std::to_string(record.row) + " " + record.id;
}

std::map<std::string, Group> group_by_source(const std::vector<Record>& records, uint64_t seed) {
  std::map<std::string, Group> groups;
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string key = source_key(records[i]);
    auto& group = groups[key];
    group.rows.push_back(static_cast<int64_t>(i));
    group.rank = hash64(key, seed);
  }
  return groups;
}

}  // namespace

Split split_by_source(const std::vector<Record>& records, double share, uint64_t seed) {
  if (!(share >= 0 && share < 1)) {
    throw InvalidArgument({.where = "data.eval_share",
                           .what = "is no share",
                           .expected = "0 up to below 1",
                           .got = std::to_string(share)});
  }
  auto groups = group_by_source(records, seed);
  std::vector<Group*> order;
  for (auto& [key, group] : groups) order.push_back(&group);
  std::stable_sort(order.begin(), order.end(), [](const Group* a, const Group* b) { return a->rank < b->rank; });

  auto left = static_cast<int64_t>(std::llround(share * static_cast<double>(records.size())));
  if (share > 0) left = std::max<int64_t>(left, 1);
  for (Group* group : order) {
    const auto size = static_cast<int64_t>(group->rows.size());
    group->held_out = size <= left && groups.size() > 1;
    if (group->held_out) left -= size;
  }
  Split split;
  for (const Group* group : order) {
    auto& part = group->held_out ? split.held_out : split.train;
    part.insert(part.end(), group->rows.begin(), group->rows.end());
    ++(group->held_out ? split.held_out_sources : split.train_sources);
  }
  if (share > 0 && split.held_out.empty() && !records.empty()) {
    throw InvalidArgument(
        {.where = "data.eval_share",
         .what = "no source document is small enough to be held out",
         .expected = "more documents or a larger share",
         .got = std::to_string(records.size()) + " rows from " + std::to_string(groups.size()) + " sources"});
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.held_out.begin(), split.held_out.end());
  return split;
}

std::string to_text(const Split& split) {
  return std::to_string(split.train.size()) + " training rows from " + std::to_string(split.train_sources) +
         " sources, " + std::to_string(split.held_out.size()) + " held out from " +
         std::to_string(split.held_out_sources) + " other sources\n";
}

std::vector<Record> take(const std::vector<Record>& records, const std::vector<int64_t>& indices) {
  std::vector<Record> taken;
  taken.reserve(indices.size());
  for (const int64_t index : indices) taken.push_back(records.at(static_cast<size_t>(index)));
  return taken;
}

}  // namespace graft::data
