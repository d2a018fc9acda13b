#include "pipelines/report/score_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "pipelines/report/html_text.h"

namespace graft::pipelines {
namespace {

int digits_for(double value) { return std::abs(value) < 10 ? 3 : std::abs(value) < 1000 ? 1 : 0; }

std::string figure(const Score& score, const std::optional<double>& value) {
  if (!value || !std::isfinite(*value)) return "–";
  if (score.kind == Score::Kind::kShare) return fmt::format("{:.1f}%", 100 * *value);
  return fmt::format("{:.{}f}", *value, digits_for(*value));
}

std::string with_sign(double value, int digits, const char* unit) {
  return fmt::format("{}{:.{}f}{}", value < 0 ? "−" : "+", std::abs(value), digits, unit);
}

bool shows_no_change(const Score& score) { return figure(score, score.before) == figure(score, score.after); }

/// Other items might as well have shown no change, or the opposite.
bool within_chance(const Score& score) {
  return score.change_low && score.change_high && *score.change_low <= 0 && *score.change_high >= 0;
}

/// 0 for a change that says nothing, 1 for the better, -1 for the worse.
int direction(const Score& score) {
  if (!score.before || !score.after || shows_no_change(score) || within_chance(score)) return 0;
  return (*score.after > *score.before) == (score.better == Score::Better::kHigher) ? 1 : -1;
}

std::string difference(const Score& score) {
  const double change = *score.after - *score.before;
  if (score.kind == Score::Kind::kShare) return with_sign(100 * change, 1, " points");
  const auto text = with_sign(change, digits_for(*score.before), "");
  return *score.before == 0 ? text : text + " (" + with_sign(100 * change / std::abs(*score.before), 0, "%") + ")";
}

std::string interval_html(const Score& score) {
  if (!score.change_low || !score.change_high) return "";
  const double scale = score.kind == Score::Kind::kShare ? 100 : 1;
  const int digits = score.kind == Score::Kind::kShare ? 1 : digits_for(*score.before);
  return "<small>95% interval " + with_sign(scale * *score.change_low, digits, "") + " to " + with_sign(scale * *score.change_high, digits, "") + "</small>";
}

/// Two bars on one scale: above before, below after.
std::string bars(const Score& score) {
  if (!score.before || !score.after) return "";
  const double top = score.kind == Score::Kind::kShare ? 1.0 : std::max({std::abs(*score.before), std::abs(*score.after), 1e-300});
  const auto bar = [&](double value) {
    const double percent = std::isfinite(value) ? std::clamp(100 * std::abs(value) / top, 0.0, 100.0) : 0.0;
    return fmt::format("<span class=\"bar\" style=\"width:{:.1f}%\"></span>", percent);
  };
  return bar(*score.before) + bar(*score.after);
}

std::string row(const Score& score) {
  static constexpr const char* kStyles[] = {"worse", "", "better"};
  const auto note = score.note.empty() ? "" : "<small>" + escape_html(score.note) + "</small>";
  return fmt::format(
      "<tr><th scope=\"row\">{}{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number {}\">{}{}</td>"
      "<td class=\"bars\" aria-hidden=\"true\">{}</td></tr>\n",
      escape_html(score.name), note, figure(score, score.before), figure(score, score.after), kStyles[direction(score) + 1],
      score_change_text(score), interval_html(score), bars(score));
}

}  // namespace

std::string score_value_html(const Score& score) {
  const auto after = figure(score, score.after);
  return score.before ? "<span class=\"from\">" + figure(score, score.before) + " →</span> " + after : after;
}

std::string score_change_text(const Score& score) {
  static constexpr const char* kWords[] = {", worse", "", ", better"};
  if (!score.before || !score.after || !std::isfinite(*score.before) || !std::isfinite(*score.after)) return "";
  if (shows_no_change(score)) return "no change";
  return difference(score) + (within_chance(score) ? ", within chance" : kWords[direction(score) + 1]);
}

std::string score_table(const std::vector<Score>& scores) {
  if (scores.empty()) return "";
  std::string rows;
  for (const auto& score : scores) rows += row(score);
  return "<div class=\"card scroll\"><table><thead><tr><th scope=\"col\">Score</th><th scope=\"col\" class=\"number\">Before</th>"
         "<th scope=\"col\" class=\"number\">After</th><th scope=\"col\" class=\"number\">Change</th><td class=\"bars\"></td></tr></thead>\n<tbody>\n" +
         rows + "</tbody></table></div>\n";
}

}  // namespace graft::pipelines
