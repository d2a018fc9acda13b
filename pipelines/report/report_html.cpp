#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "pipelines/progress_line.h"
#include "pipelines/report/curve.h"
#include "pipelines/report/embedded.h"
#include "pipelines/report/html_text.h"
#include "pipelines/report/page_parts.h"
#include "pipelines/report/report.h"
#include "pipelines/report/score_table.h"

namespace graft::pipelines {
namespace {

constexpr size_t kMostPoints = 1200;
constexpr size_t kTableRows = 12;

using StepFigure = double (*)(const StepLine&);

std::vector<CurvePoint> curve(const ReportContent& content, StepFigure figure) {
  std::vector<CurvePoint> points;
  for (const auto& line : content.steps) points.push_back({line.step, figure(line)});
  return points;
}

double loss_of(const StepLine& line) { return line.loss; }
double speed_of(const StepLine& line) { return line.tokens_per_second; }
double gib_of(const StepLine& line) { return static_cast<double>(line.peak_memory_bytes) / (1 << 30); }

std::string tiles(const ReportContent& content) {
  std::string body;
  for (size_t i = 0; i < std::min<size_t>(2, content.scores.size()); ++i) {
    const auto& score = content.scores[i];
    body += page_tile(score.name, score_value_html(score), score_change_text(score));
  }
  if (!content.steps.empty()) {
    auto speeds = curve(content, speed_of);
    std::sort(speeds.begin(), speeds.end(), [](const auto& a, const auto& b) { return a.value < b.value; });
    int64_t peak = 0;
    for (const auto& line : content.steps) peak = std::max(peak, line.peak_memory_bytes);
    body += page_tile("Speed", format_count(std::llround(speeds[speeds.size() / 2].value)) + " tokens/s", "median over " + format_steps(static_cast<int64_t>(content.steps.size())));
    body += page_tile("Peak memory", format_bytes(peak), "of the whole process");
  }
  return page_tiles(body);
}

std::string plot(const std::string& id, const std::string& size, const std::string& caption, const std::string& description) {
  return fmt::format(
      "<figure class=\"card\"><figcaption>{}</figcaption><div class=\"plot{}\"><canvas id=\"{}\" role=\"img\" aria-label=\"{}\"></canvas></div></figure>\n",
      escape_html(caption), size, id, escape_html(description));
}

std::string loss_table(const ReportContent& content) {
  const auto loss = thin_out(smoothed(curve(content, loss_of)), kTableRows);
  std::string rows;
  for (const auto& point : loss) rows += fmt::format("<tr><th scope=\"row\">{}</th><td class=\"number\">{:.4f}</td></tr>\n", point.step, point.value);
  std::string held_out;
  for (const auto& point : content.held_out) {
    held_out += fmt::format("<tr><th scope=\"row\">{}, held out</th><td class=\"number\">{:.4f}</td></tr>\n", point.step, point.loss);
  }
  return "<details><summary>The same as a table</summary><div class=\"card scroll\"><table><thead><tr><th scope=\"col\">Step</th>"
         "<th scope=\"col\" class=\"number\">Loss, smoothed</th></tr></thead><tbody>\n" + rows + held_out + "</tbody></table></div></details>\n";
}

std::string curves(const ReportContent& content) {
  if (content.steps.empty()) return "";
  const auto& first = content.steps.front();
  const auto& last = content.steps.back();
  const auto smooth = smoothed(curve(content, loss_of));
  const auto text = smooth.empty() ? "no finite training loss"
                                   : fmt::format("Training loss from {:.3f} at step {} to {:.3f}, smoothed, at step {}", first.loss, first.step, smooth.back().value, last.step);
  return plot("loss-plot", "", "Loss over the run. Lower is better.", text) + "<noscript><p>The curves need JavaScript; the table below has the figures.</p></noscript>\n" +
         loss_table(content);
}

std::string speed_and_memory(const ReportContent& content) {
  if (content.steps.empty()) return "";
  return "<div class=\"pair\">\n" + plot("speed-plot", " small", "Tokens through the model each second", "Tokens a second over the run") +
         plot("memory-plot", " small", "Highest memory of the process so far", "Peak memory over the run") + "</div>\n";
}

std::string samples(const ReportContent& content) {
  std::string body;
  const auto answer = [](const char* style, const char* label, const std::string& text) {
    return fmt::format("<div class=\"{}\"><dt>{}</dt><dd>{}</dd></div>\n", style, label, escape_html(text));
  };
  for (const auto& sample : content.samples) {
    body += "<article class=\"sample card\"><h3>" + escape_html(sample.question) + "</h3>\n<dl class=\"answers\">\n";
    if (!sample.reference.empty()) body += answer("reference", "Reference", sample.reference);
    body += answer("before", "Before", sample.before) + answer("after", "After", sample.after) + "</dl></article>\n";
  }
  return body;
}

std::string data_report(const DataReportSection& data) {
  std::string items;
  for (const auto& problem : data.problems) items += "<li>" + escape_html(problem) + "</li>\n";
  if (!items.empty()) {
    items = "<details open><summary>Rows that were left out</summary><div class=\"card\"><ul class=\"problems\">\n" + items + "</ul></div></details>\n";
  }
  return page_facts(data.counts) + items;
}

nlohmann::ordered_json pairs(const std::vector<CurvePoint>& points) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& point : thin_out(points, kMostPoints)) list.push_back({point.step, point.value});
  return list;
}

std::string scripts(const ReportContent& content) {
  if (content.steps.empty()) return "";
  std::vector<CurvePoint> held_out;
  for (const auto& point : content.held_out) held_out.push_back({point.step, point.loss});
  const auto loss = curve(content, loss_of);
  const nlohmann::ordered_json data = {{"loss", pairs(loss)}, {"smooth", pairs(smoothed(loss))}, {"held_out", pairs(held_out)},
                                       {"speed", pairs(curve(content, speed_of))}, {"memory", pairs(curve(content, gib_of))}};
  std::string html = "<script type=\"application/json\" id=\"curves\">" + escape_json_for_script(to_json_line(data)) + "</script>\n";
  html.append("<script>").append(kChartJs).append("</script>\n<script>").append(kReportJs).append("</script>\n");
  return html;
}

}  // namespace

std::string report_html(const ReportContent& content) {
  auto html = page_start(content.title, "Graft run report", content.summary);
  html += tiles(content) + "</header>\n<main>\n";
  html += page_section("Before and after", "The same items, put to the model as it came and with the adapter. Loss and perplexity say how unexpected the right text is to it: lower is better.", score_table(content.scores));
  html += page_section("Learning", "", curves(content));
  html += page_section("Answers side by side", content.samples_note, samples(content));
  html += page_section("Speed and memory", "", speed_and_memory(content));
  html += page_section("The run", "", page_facts(content.facts));
  html += page_section("Data", "", data_report(content.data));
  html += page_section("Use the adapter", "", page_recipes(content.recipes));
  html += page_end(scripts(content));
  return html;
}

void write_report(const std::filesystem::path& file, const ReportContent& content) { write_file_atomically(file, report_html(content)); }

}  // namespace graft::pipelines
