#include "peft_core/slots/adapter_choice.h"

#include <string>

#include "kernels/base/error.h"

namespace graft::peft {

std::shared_ptr<const AdapterChoice> AdapterChoice::for_all(AdapterWeights weights) {
  auto choice = std::make_shared<AdapterChoice>();
  choice->runs_.push_back({-1, std::move(weights)});
  return choice;
}

std::shared_ptr<const AdapterChoice> AdapterChoice::for_sequences(std::span<const AdapterWeights> weights, std::span<const int32_t> lengths) {
  if (weights.size() != lengths.size())
    throw InvalidArgument({.where = "adapters", .what = "need one choice for each sequence", .expected = std::to_string(lengths.size()),
                           .got = std::to_string(weights.size())});
  auto choice = std::make_shared<AdapterChoice>();
  for (size_t i = 0; i < weights.size(); ++i) choice->append(lengths[i], weights[i]);
  return choice;
}

void AdapterChoice::append(int64_t count, const AdapterWeights& weights) {
  if (count == 0) return;
  if (!runs_.empty() && runs_.back().weights == weights) {
    runs_.back().count += count;
  } else {
    runs_.push_back({count, weights});
  }
}

std::vector<AdapterChoice::Rows> AdapterChoice::runs(int64_t rows) const {
  if (runs_.size() == 1 && runs_.front().count < 0) return {{rows, runs_.front().weights}};
  int64_t sum = 0;
  for (const auto& run : runs_) sum += run.count;
  if (sum != rows)
    throw InvalidArgument({.where = "adapters", .what = "were chosen for another number of rows", .expected = std::to_string(rows),
                           .got = std::to_string(sum)});
  return runs_;
}

std::shared_ptr<const AdapterChoice> AdapterChoice::of_rows(const at::Tensor& rows) const {
  if (runs_.size() == 1 && runs_.front().count < 0) return for_all(runs_.front().weights);
  std::vector<const AdapterWeights*> of_row;
  for (const auto& run : runs_) of_row.insert(of_row.end(), static_cast<size_t>(run.count), &run.weights);
  auto picked = std::make_shared<AdapterChoice>();
  const auto* numbers = rows.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows.numel(); ++i) picked->append(1, *of_row.at(static_cast<size_t>(numbers[i])));
  return picked;
}

}  // namespace graft::peft
