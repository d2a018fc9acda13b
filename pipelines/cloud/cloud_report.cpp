#include "pipelines/cloud/cloud_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "pipelines/progress_line.h"
#include "pipelines/report/embedded.h"
#include "pipelines/report/html_text.h"
#include "pipelines/report/page_parts.h"

namespace graft::pipelines {
namespace {

constexpr size_t kMostRows = 2000;  // of the table of files

std::string swatch(Colour colour) { return fmt::format("<i class=\"swatch\" style=\"background:rgb({},{},{})\"></i>", colour[0], colour[1], colour[2]); }

std::string tiles(const CloudReport& report) {
  std::string body;
  for (const auto& [fact, note] : report.tiles) body += page_tile(fact.label, escape_html(fact.value), note);
  return page_tiles(body);
}

std::string bar(double share) { return fmt::format("<span class=\"bar\" style=\"width:{:.1f}%\"></span>", 100 * std::clamp(share, 0.0, 1.0)); }

std::string counts_table(const CloudReport& report) {
  int64_t most = 1;
  for (const auto& line : report.counts) most = std::max(most, line.count);
  std::string rows;
  for (const auto& line : report.counts)
    rows += fmt::format("<tr><th scope=\"row\">{}{}</th><td class=\"number\">{}</td><td class=\"share\">{}</td></tr>\n", swatch(line.colour), escape_html(line.label),
                        format_count(line.count), bar(static_cast<double>(line.count) / static_cast<double>(most)));
  return rows.empty() ? "" : "<div class=\"card scroll\"><table class=\"counts\"><tbody>\n" + rows + "</tbody></table></div>\n";
}

/// x, y, z as 16-bit whole numbers: the longest side of the box spans -32000..32000, so that a page of twenty clouds stays small.
std::string packed_points(const data::PointCloud& cloud) {
  std::array<float, 3> low{}, high{};
  for (size_t i = 0; i < cloud.points.size(); ++i) {
    low[i % 3] = i < 3 ? cloud.points[i] : std::min(low[i % 3], cloud.points[i]);
    high[i % 3] = i < 3 ? cloud.points[i] : std::max(high[i % 3], cloud.points[i]);
  }
  const float side = std::max({high[0] - low[0], high[1] - low[1], high[2] - low[2], 1e-30f});
  std::string bytes;
  for (size_t i = 0; i < cloud.points.size(); ++i) {
    const float middle = 0.5f * (low[i % 3] + high[i % 3]);
    const auto value = static_cast<int16_t>(std::lround(std::clamp(64000 * (cloud.points[i] - middle) / side, -32000.0f, 32000.0f)));
    bytes += {static_cast<char>(value & 255), static_cast<char>(value >> 8 & 255)};
  }
  return base64(bytes);
}

std::string viewer(const CloudReport& report) {
  if (report.shown.empty()) return "";
  std::string choices;
  for (size_t i = 0; i < report.shown.size(); ++i)
    choices += fmt::format("<option value=\"{}\">{}: {}</option>\n", i, escape_html(report.shown[i].name), escape_html(report.shown[i].answer));
  return "<figure class=\"card viewer\"><div class=\"choice\"><label for=\"which\">Cloud</label> <select id=\"which\">\n" + choices +
         "</select><label class=\"size\">Point size <input id=\"dot\" type=\"range\" min=\"1\" max=\"6\" step=\"1\" value=\"2\"></label></div>\n"
         "<canvas id=\"cloud\" tabindex=\"0\" role=\"img\" aria-label=\"The cloud's points in three dimensions\"></canvas>\n"
         "<div id=\"legend\"></div><figcaption>Drag or use the arrow keys to turn, the wheel or + and - to come nearer, Home to begin again.</figcaption></figure>\n"
         "<noscript><p>Turning a cloud needs JavaScript; the sheets below show its views.</p></noscript>\n";
}

std::string card(const ShownCloud& shown, size_t index) {
  std::string rows;
  for (const auto& [label, probability] : shown.top)
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td class=\"number\">{:.1f}%</td><td class=\"share\">{}</td></tr>\n", escape_html(label), 100 * probability, bar(probability));
  auto html = fmt::format("<article class=\"cloud card\"><h3>{}</h3>\n<p><b>{}</b> <span class=\"soft\">{}</span> <button type=\"button\" data-cloud=\"{}\">Turn it</button></p>\n",
                          escape_html(shown.name), escape_html(shown.answer), escape_html(shown.note), index);
  if (!rows.empty()) html += "<table class=\"counts\"><tbody>\n" + rows + "</tbody></table>\n";
  if (!shown.sheet.empty()) html += "<img alt=\"The views that CLIP sees\" src=\"data:image/png;base64," + base64(shown.sheet) + "\">\n";
  return html + "</article>\n";
}

std::string cards(const CloudReport& report) {
  std::string body;
  for (size_t i = 0; i < report.shown.size(); ++i)
    if (!report.shown[i].top.empty()) body += card(report.shown[i], i);
  return body;
}

std::string figures(const CloudReport& report) {
  std::string body;
  for (const auto& figure : report.figures) body += "<figure class=\"card\"><figcaption>" + escape_html(figure.caption) + "</figcaption>" + figure.svg + "</figure>\n";
  return body.empty() ? "" : "<div class=\"figures\">\n" + body + "</div>\n";
}

std::string read_table(const CloudReport& report) {
  std::string rows;
  for (size_t i = 0; i < std::min(kMostRows, report.read.size()); ++i) {
    const auto& line = report.read[i];
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td>{}</td><td{}>{}<small>{}</small></td></tr>\n", escape_html(line.file), escape_html(line.points),
                        escape_html(line.up), line.skipped ? " class=\"worse\"" : "", escape_html(line.result), escape_html(line.note));
  }
  if (rows.empty()) return "";
  if (report.read.size() > kMostRows) rows += fmt::format("<tr><td colspan=\"4\">and {} more; see clouds.csv</td></tr>\n", report.read.size() - kMostRows);
  return "<div class=\"card scroll\"><table class=\"files\"><thead><tr><th scope=\"col\">File</th><th scope=\"col\" class=\"number\">Points</th><th scope=\"col\">Up</th>"
         "<th scope=\"col\">Result</th></tr></thead><tbody>\n" + rows + "</tbody></table></div>\n";
}

std::string scripts(const CloudReport& report) {
  if (report.shown.empty()) return "";
  auto clouds = nlohmann::ordered_json::array();
  for (const auto& shown : report.shown) {
    auto legend = nlohmann::ordered_json::array();
    for (const auto& line : shown.legend) legend.push_back({line.label, line.count, line.colour});
    clouds.push_back({{"points", packed_points(shown.cloud)},
                      {"colours", base64({reinterpret_cast<const char*>(shown.colours.data()), shown.colours.size()})},
                      {"legend", legend}});
  }
  std::string html = "<script type=\"application/json\" id=\"clouds\">" + escape_json_for_script(to_json_line(clouds)) + "</script>\n";
  return html.append("<script>").append(kCloudReportJs).append("</script>\n");
}

}  // namespace

std::string cloud_report_html(const CloudReport& report) {
  auto html = page_start(report.title, "Graft point clouds", report.summary, kCloudReportCss);
  html += tiles(report) + "</header>\n<main>\n";
  html += page_section("Look around", "", viewer(report));
  html += page_section("Labels", "", counts_table(report));
  html += page_section("How well", "", figures(report));
  html += page_section("Clouds one by one", "The views are what CLIP sees, numbered from the left, first row first. Green frames: those that had a say.", cards(report));
  html += page_section("What was read", "", read_table(report));
  html += page_section("The run", "", page_facts(report.facts));
  html += page_section("Go on", "", page_recipes(report.recipes));
  return html + page_end(scripts(report));
}

void write_cloud_report(const std::filesystem::path& file, const CloudReport& report) { write_file_atomically(file, cloud_report_html(report)); }

}  // namespace graft::pipelines
