#pragma once

#include <vector>

#include "pipelines/cloud/dense.h"

namespace graft::pipelines {

/// What evens out a layer's values. kBatch: over the batch, with running statistics for evaluation, as published. kRow: over each point's own
/// channels, so that a cloud's feature depends on no other cloud and training keeps no statistics.
enum class PointNorm { kBatch, kRow };

/// Layers applied to each point (or each cloud) alike: linear, norm, ReLU.
class PointLayers {
 public:
  PointLayers() = default;
  PointLayers(const std::vector<int64_t>& widths, PointNorm norm, bool last_relu, at::Generator& draw);
  at::Tensor forward(at::Tensor x, bool training) const;  ///< (N, widths.front()) -> (N, widths.back())
  void list(const std::string& name, peft::NamedTensors& leaves) const;
  void list_statistics(const std::string& name, peft::NamedTensors& statistics) const;

 private:
  at::Tensor normed(const at::Tensor& x, size_t layer, bool training) const;

  PointNorm norm_ = PointNorm::kRow;
  bool last_relu_ = true;
  std::vector<Dense> dense_;
  std::vector<RowNorm> norms_;
  std::vector<at::Tensor> means_, variances_;
};

/// Guesses a d x d transform from all points: identity plus what it has learnt.
class TransformNet {
 public:
  TransformNet() = default;
  TransformNet(int64_t size, PointNorm norm, at::Generator& draw);
  at::Tensor forward(const at::Tensor& x, bool training) const;  ///< (B, N, d) -> (B, d, d)
  void list(const std::string& name, peft::NamedTensors& leaves) const;
  void list_statistics(const std::string& name, peft::NamedTensors& statistics) const;

 private:
  int64_t size_ = 0;
  PointLayers each_, whole_;
  Dense last_;
};

struct PointFeatures {
  at::Tensor feature;    ///< (B, 1024)
  at::Tensor transform;  ///< (B, 64, 64), what orthogonality_loss() is about
};

/// PointNet up to its global feature. Unchanged by the order of the points. 2,803,529 parameters.
/// Source: Qi et al. 2017, arXiv:1612.00593.
class PointNet {
 public:
  static constexpr int64_t kWidth = 1024;
  PointNet() = default;
  PointNet(PointNorm norm, at::Generator& draw);
  PointFeatures forward(const at::Tensor& points, bool training) const;  ///< (B, N, 3) fp32
  void list(const std::string& name, peft::NamedTensors& leaves) const;
  /// Running means and variances of kBatch; empty for kRow.
  void list_statistics(const std::string& name, peft::NamedTensors& statistics) const;

 private:
  TransformNet input_, middle_;
  PointLayers first_, rest_;
};

}  // namespace graft::pipelines
