#include "peft_core/methods/low_rank/randlora_bases.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

namespace graft::peft {
namespace {

/// Uniform in ±1/√fan (Kaiming with a = √5), in the type in which PEFT draws on a processor.
at::Tensor dense_basis(at::IntArrayRef sizes, int64_t fan, at::Generator& random) {
  const double bound = std::sqrt(3.0) * (std::sqrt(2.0 / 6.0) / std::sqrt(static_cast<double>(fan)));
  return at::empty(sizes, at::kBFloat16).uniform_(-bound, bound, random);
}

/// −1 and 1 with a chance of 1 / (2 sparsity) each, else 0.
at::Tensor ternary_basis(at::IntArrayRef sizes, double sparsity, at::Generator& random) {
  const auto draw = at::rand(sizes, random, at::TensorOptions(at::kFloat));
  const double share = 1 / (2 * sparsity);
  return draw.gt(1 - share).to(at::kFloat) - draw.lt(share).to(at::kFloat);
}

at::Tensor over_deviation(const at::Tensor& basis) { return (basis / basis.std()).to(at::kFloat); }

}  // namespace

int64_t randlora_base_count(int64_t smaller, int64_t rank) { return (smaller + rank - 1) / rank; }

RandloraBases::RandloraBases(int64_t rank, int64_t smaller, int64_t larger, Kind kind, uint64_t key) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(key);
  const auto bases = randlora_base_count(smaller, rank);
  if (kind == Kind::kDense) {
    a_ = over_deviation(dense_basis({rank, 1, smaller}, smaller, random));
    std::vector<at::Tensor> all;  // one draw each, which is not the same as one draw of them all
    for (int64_t i = 0; i < bases; ++i) all.push_back(dense_basis({larger, 1, rank}, rank, random));
    b_ = over_deviation(at::cat(all, 1));
  } else {
    const double sparsity = kind == Kind::kSparse ? 3.0 : std::sqrt(static_cast<double>(smaller));
    a_ = over_deviation(ternary_basis({rank, 1, smaller}, sparsity, random));
    b_ = over_deviation(ternary_basis({larger, bases, rank}, sparsity, random));
  }
}

at::Tensor RandloraBases::wide(int64_t side, int64_t bases) const {
  auto& cut = cuts_[{side, bases}];
  if (!cut.values.defined() || cut.version != b_._version())
    cut = {static_cast<uint32_t>(b_._version()), b_.narrow(0, 0, side).narrow(1, 0, bases).reshape({side, bases * b_.size(2)})};
  return cut.values;
}

}  // namespace graft::peft
