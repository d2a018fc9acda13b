#pragma once

#include "pipelines/cloud/dense.h"

namespace graft::pipelines {

/// PointCLIP's few-shot adapter: all views of a cloud together give one feature, which gives each view something back.
///   f_m <- ratio · adapted_m + (1 - ratio) · f_m
/// Row norms stand where the published code has batch norms, so that a cloud's answer depends on no other. Source: arXiv:2112.02413.
class ViewAdapter {
 public:
  ViewAdapter() = default;
  ViewAdapter(int64_t views, int64_t width, double ratio, at::Generator& draw);
  at::Tensor forward(const at::Tensor& features) const;  ///< (B, M, J) unit rows -> (B, M, J)
  void list(const std::string& name, peft::NamedTensors& leaves) const;

 private:
  double ratio_ = 0;
  RowNorm norm_;
  Dense together_, inner_, apart_;
};

}  // namespace graft::pipelines
