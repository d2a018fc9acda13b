#pragma once

#include <filesystem>

#include "data_loaders/cloud/point_cloud.h"
#include "pipelines/cloud/picture.h"
#include "pipelines/report/report.h"

namespace graft::pipelines {

/// A number in a list of labels, with the colour it has in the pictures.
struct LabelCount {
  std::string label;
  int64_t count = 0;
  Colour colour{};
};

/// A cloud that a reader can turn.
struct ShownCloud {
  std::string name;
  std::string answer;  ///< "tree, 93 %"
  std::vector<std::pair<std::string, double>> top;  ///< the likeliest labels
  std::string note;    ///< entropy, views that had a say
  std::string sheet;   ///< PNG bytes of its views; may be empty
  data::PointCloud cloud;              ///< z is up; thinned out as the page should have it
  std::vector<uint8_t> colours;        ///< (n, 3) or empty: by height
  std::vector<LabelCount> legend;      ///< what the colours mean; may be empty
};

/// One line of the table of files.
struct ReadLine {
  std::string file, points, up, result, note;
  bool skipped = false;
};

struct Figure {
  std::string caption, svg;
};

/// Everything that a page about labelled clouds shows; plain text but for the figures. Empty parts are left out.
struct CloudReport {
  std::string title, summary;
  std::vector<std::pair<Fact, std::string>> tiles;  ///< label and value, and a note
  std::vector<LabelCount> counts;
  std::vector<ShownCloud> shown;
  std::vector<Figure> figures;
  std::vector<ReadLine> read;
  std::vector<Fact> facts;
  std::vector<Recipe> recipes;
};

/// One self-contained page; its clouds can be turned with mouse, finger and keys. No network, readable without JavaScript.
std::string cloud_report_html(const CloudReport& report);
/// Atomically; throws IoError.
void write_cloud_report(const std::filesystem::path& file, const CloudReport& report);

}  // namespace graft::pipelines
