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

std::string section(const std::string& title, const std::string& lead, const std::string& body) {
  if (body.empty()) return "";
  const auto text = lead.empty() ? "" : "<p>" + escape_html(lead) + "</p>\n";
  return "<section>\n<h2>" + escape_html(title) + "</h2>\n" + text + body + "</section>\n";
}

std::string tile(const std::string& label, const std::string& value_html, const std::string& note) {
  return fmt::format("<div class=\"tile card\"><dt>{}</dt><dd>{}</dd><dd>{}</dd></div>\n", escape_html(label), value_html, escape_html(note));
}

std::string tiles(const ReportContent& content) {
  std::string body;
  for (size_t i = 0; i < std::min<size_t>(2, content.scores.size()); ++i) {
    const auto& score = content.scores[i];
    body += tile(score.name, score_value_html(score), score_change_text(score));
  }
  if (!content.steps.empty()) {
    auto speeds = curve(content, speed_of);
    std::sort(speeds.begin(), speeds.end(), [](const auto& a, const auto& b) { return a.value < b.value; });
    int64_t peak = 0;
    for (const auto& line : content.steps) peak = std::max(peak, line.peak_memory_bytes);
    body += tile("Speed", format_count(std::llround(speeds[speeds.size() / 2].value)) + " tokens/s", "median over " + format_count(static_cast<int64_t>(content.steps.size())) + " steps");
    body += tile("Peak memory", format_bytes(peak), "of the whole process");
  }
  return body.empty() ? "" : "<dl class=\"tiles\">\n" + body + "</dl>\n";
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

std::string fact_list(const std::vector<Fact>& facts) {
  std::string rows;
  for (const auto& fact : facts) rows += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escape_html(fact.label), escape_html(fact.value));
  return rows.empty() ? "" : "<dl class=\"facts card\">\n" + rows + "</dl>\n";
}

std::string data_report(const DataReportSection& data) {
  std::string items;
  for (const auto& problem : data.problems) items += "<li>" + escape_html(problem) + "</li>\n";
  if (!items.empty()) {
    items = "<details open><summary>Rows that were left out</summary><div class=\"card\"><ul class=\"problems\">\n" + items + "</ul></div></details>\n";
  }
  return fact_list(data.counts) + items;
}

std::string recipes(const ReportContent& content) {
  std::string body;
  for (const auto& recipe : content.recipes) {
    body += fmt::format("<div class=\"recipe\"><p>{}</p><pre><code>{}</code></pre></div>\n", escape_html(recipe.purpose), escape_html(recipe.command));
  }
  return body;
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
  const auto title = escape_html(content.title);
  std::string html = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" + title + "</title>\n<style>\n";
  html.append(kReportCss);
  html += "</style>\n</head>\n<body>\n<header>\n<p class=\"kicker\">Graft run report</p>\n<h1>" + title + "</h1>\n";
  if (!content.summary.empty()) html += "<p class=\"lead\">" + escape_html(content.summary) + "</p>\n";
  html += tiles(content) + "</header>\n<main>\n";
  html += section("Before and after", "The same items, put to the model as it came and with the adapter. Loss and perplexity say how unexpected the right text is to it: lower is better.", score_table(content.scores));
  html += section("Learning", "", curves(content));
  html += section("Answers side by side", content.samples_note, samples(content));
  html += section("Speed and memory", "", speed_and_memory(content));
  html += section("The run", "", fact_list(content.facts));
  html += section("Data", "", data_report(content.data));
  html += section("Use the adapter", "", recipes(content));
  html += "</main>\n<footer>Made by Graft. This page holds everything it shows; it loads nothing from the network.</footer>\n";
  html += scripts(content) + "</body>\n</html>\n";
  return html;
}

void write_report(const std::filesystem::path& file, const ReportContent& content) { write_file_atomically(file, report_html(content)); }

}  // namespace graft::pipelines
