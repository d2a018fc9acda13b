#include "pipelines/cloud/point_net.h"

#include <ATen/ATen.h>

namespace graft::pipelines {
namespace {

constexpr double kNearIdentity = 1e-3;

}  // namespace

PointLayers::PointLayers(const std::vector<int64_t>& widths, PointNorm norm, bool last_relu, at::Generator& draw)
    : norm_(norm), last_relu_(last_relu) {
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    dense_.emplace_back(widths[i], widths[i + 1], draw);
    norms_.emplace_back(widths[i + 1]);
    if (norm_ == PointNorm::kRow) continue;
    means_.push_back(at::zeros({widths[i + 1]}, at::kFloat));
    variances_.push_back(at::ones({widths[i + 1]}, at::kFloat));
  }
}

at::Tensor PointLayers::normed(const at::Tensor& x, size_t layer, bool training) const {
  const auto& norm = norms_[layer];
  if (norm_ == PointNorm::kRow) return norm.forward(x);
  const bool alone = x.size(0) == 1;  // one row has no variance
  return at::batch_norm(x, norm.weight, norm.bias, means_[layer], variances_[layer], training && !alone, 0.1, 1e-5, false);
}

at::Tensor PointLayers::forward(at::Tensor x, bool training) const {
  for (size_t i = 0; i < dense_.size(); ++i) {
    x = normed(dense_[i].forward(x), i, training);
    if (i + 1 < dense_.size() || last_relu_) x = at::relu(x);
  }
  return x;
}

void PointLayers::list(const std::string& name, peft::NamedTensors& leaves) const {
  for (size_t i = 0; i < dense_.size(); ++i) {
    dense_[i].list(name + "." + std::to_string(i), leaves);
    norms_[i].list(name + "." + std::to_string(i) + ".norm", leaves);
  }
}

void PointLayers::list_statistics(const std::string& name, peft::NamedTensors& statistics) const {
  for (size_t i = 0; i < means_.size(); ++i) {
    statistics.emplace_back(name + "." + std::to_string(i) + ".norm.running_mean", means_[i]);
    statistics.emplace_back(name + "." + std::to_string(i) + ".norm.running_variance", variances_[i]);
  }
}

TransformNet::TransformNet(int64_t size, PointNorm norm, at::Generator& draw)
    : size_(size), each_({size, 64, 128, PointNet::kWidth}, norm, true, draw), whole_({PointNet::kWidth, 512, 256}, norm, true, draw),
      last_(256, size * size, draw) {
  // The released code starts far from the identity, and the orthogonality loss of that drowns all others.
  if (norm == PointNorm::kRow) last_.scale(kNearIdentity);
}

at::Tensor TransformNet::forward(const at::Tensor& x, bool training) const {
  const int64_t clouds = x.size(0), points = x.size(1);
  const auto each = each_.forward(x.reshape({clouds * points, size_}), training).view({clouds, points, -1});
  const auto guess = last_.forward(whole_.forward(each.amax(1), training));
  return guess.view({clouds, size_, size_}) + at::eye(size_, x.options());
}

void TransformNet::list(const std::string& name, peft::NamedTensors& leaves) const {
  each_.list(name + ".each", leaves);
  whole_.list(name + ".whole", leaves);
  last_.list(name + ".last", leaves);
}

void TransformNet::list_statistics(const std::string& name, peft::NamedTensors& statistics) const {
  each_.list_statistics(name + ".each", statistics);
  whole_.list_statistics(name + ".whole", statistics);
}

PointNet::PointNet(PointNorm norm, at::Generator& draw)
    : input_(3, norm, draw), middle_(64, norm, draw), first_({3, 64}, norm, true, draw), rest_({64, 128, kWidth}, norm, false, draw) {}

PointFeatures PointNet::forward(const at::Tensor& points, bool training) const {
  const int64_t clouds = points.size(0), count = points.size(1);
  const auto turned = at::bmm(points, input_.forward(points, training));
  const auto low = first_.forward(turned.reshape({clouds * count, 3}), training).view({clouds, count, 64});
  const auto transform = middle_.forward(low, training);
  const auto high = rest_.forward(at::bmm(low, transform).reshape({clouds * count, 64}), training);
  return {high.view({clouds, count, kWidth}).amax(1), transform};
}

void PointNet::list(const std::string& name, peft::NamedTensors& leaves) const {
  input_.list(name + ".input_transform", leaves);
  first_.list(name + ".first", leaves);
  middle_.list(name + ".feature_transform", leaves);
  rest_.list(name + ".rest", leaves);
}

void PointNet::list_statistics(const std::string& name, peft::NamedTensors& statistics) const {
  input_.list_statistics(name + ".input_transform", statistics);
  first_.list_statistics(name + ".first", statistics);
  middle_.list_statistics(name + ".feature_transform", statistics);
  rest_.list_statistics(name + ".rest", statistics);
}

}  // namespace graft::pipelines
