#pragma once

#include <string_view>

namespace graft::pipelines {

/// Files that are part of the program; made by cmake/embed_files.cmake.
extern const std::string_view kReportCss;
extern const std::string_view kReportJs;
extern const std::string_view kChartJs;
extern const std::string_view kCloudReportCss;
extern const std::string_view kCloudReportJs;

}  // namespace graft::pipelines
