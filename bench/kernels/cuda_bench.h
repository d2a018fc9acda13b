#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

namespace graft::bench {

/// One kernel beside what LibTorch has for the same work. Both return their main result, which is compared.
struct CudaCase {
  std::string name;
  double bytes = 0;  ///< each input read once, each output written once
  std::function<at::Tensor()> ours;
  std::function<at::Tensor()> libtorch;  ///< empty: has none
  int operators = 1;                     ///< of LibTorch that it takes
  int repetitions = 40;
  std::function<void()> before = {};  ///< restores what ours overwrites; outside of the time
  bool same_result = true;
};

/// Cases are made one by one, since each holds its arrays.
using CaseMaker = std::function<CudaCase()>;
std::vector<CaseMaker> row_cases();
std::vector<CaseMaker> weight_cases();
std::vector<CaseMaker> head_cases();

at::Tensor random_numbers(at::IntArrayRef shape, at::ScalarType type);
at::Tensor random_bytes(int64_t count);
double bytes_of(std::initializer_list<at::Tensor> tensors);

}  // namespace graft::bench
