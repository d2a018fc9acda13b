#include "pipelines/cloud/score_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "pipelines/report/html_text.h"

namespace graft::pipelines {
namespace {

constexpr double kLetter = 7.2;  // pixels of a letter of 13 pixels' height, about

std::string svg(double width, double height, const std::string& title, const std::string& body) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\" "
      "style=\"max-width:100%;height:auto\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\">\n<title>{2}</title>\n"
      "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#ffffff\"/>\n{3}</svg>\n",
      width, height, escape_html(title), body);
}

std::string text(double x, double y, const std::string& words, const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"#1d2420\" {}>{}</text>\n", x, y, more, escape_html(words));
}

double widest(const std::vector<std::string>& names) {
  size_t letters = 4;
  for (const auto& name : names) letters = std::max(letters, std::min<size_t>(name.size(), 24));
  return kLetter * static_cast<double>(letters);
}

std::string shortened(const std::string& name) { return name.size() <= 24 ? name : name.substr(0, 21) + "..."; }

std::string cell(double x, double y, double size, int64_t count, double share, bool right) {
  // From white to green on the diagonal, to red beside it; white letters on dark cells.
  const auto mix = [&](double full) { return static_cast<int>(std::lround(255 + share * (full - 255))); };
  const auto fill = right ? fmt::format("#{:02x}{:02x}{:02x}", mix(44), mix(110), mix(76)) : fmt::format("#{:02x}{:02x}{:02x}", mix(168), mix(56), mix(43));
  auto drawn = fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\" stroke=\"#e3e2da\"/>\n", x, y, size, size, fill);
  if (count > 0)
    drawn += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" fill=\"{}\">{}</text>\n", x + size / 2, y + size / 2 + 4.5,
                         share > 0.55 ? "#ffffff" : "#1d2420", count);
  return drawn;
}

}  // namespace

std::string confusion_svg(const LabelTally& tally) {
  auto columns = tally.classes();
  if (tally.none() > 0) columns.push_back("none of these");
  const double size = 38, left = widest(tally.classes()) + 40, top = 0.72 * widest(columns) + 44;
  std::string body = text(left, 20, "label given", "fill-opacity=\".65\"") + text(10, top - 10, "right class", "fill-opacity=\".65\"");
  for (size_t given = 0; given < columns.size(); ++given) {
    const double x = left + size * (static_cast<double>(given) + 0.5);
    body += text(x, top - 8, shortened(columns[given]), fmt::format("transform=\"rotate(-45 {:.1f} {:.1f})\"", x, top - 8));
  }
  for (size_t right = 0; right < tally.classes().size(); ++right) {
    const double y = top + size * static_cast<double>(right);
    const auto of = tally.clouds_of(static_cast<int64_t>(right));
    body += text(left - 10, y + size / 2 + 4.5, shortened(tally.classes()[right]), "text-anchor=\"end\"");
    for (size_t given = 0; given < columns.size(); ++given) {
      const auto count = tally.count(static_cast<int64_t>(right), static_cast<int64_t>(given));
      body += cell(left + size * static_cast<double>(given), y, size, count, of == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(of), right == given);
    }
  }
  const double width = left + size * static_cast<double>(columns.size()) + 0.72 * widest(columns) + 10;
  return svg(width, top + size * static_cast<double>(tally.classes().size()) + 16, "Confusion matrix", body);
}

std::string per_class_svg(const LabelTally& tally) {
  const double left = widest(tally.classes()) + 24, span = 340, step = 30;
  std::string body;
  for (size_t k = 0; k < tally.classes().size(); ++k) {
    const auto of = tally.clouds_of(static_cast<int64_t>(k)), right = tally.count(static_cast<int64_t>(k), static_cast<int64_t>(k));
    const double y = 14 + step * static_cast<double>(k), share = of == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(of);
    const auto interval = wilson_interval(right, of);
    body += text(left - 10, y + 15, shortened(tally.classes()[k]), "text-anchor=\"end\"");
    body += fmt::format("<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"16\" rx=\"3\" fill=\"#f2f1ea\"/>\n", left, y + 2, span);
    body += fmt::format("<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"16\" rx=\"3\" fill=\"#2c6e4c\"/>\n", left, y + 2, span * share);
    if (of > 0)
      body += fmt::format("<path d=\"M{0:.1f} {2:.1f}H{1:.1f}M{0:.1f} {3:.1f}v8M{1:.1f} {3:.1f}v8\" stroke=\"#b4690e\" stroke-width=\"1.5\"/>\n",
                          left + span * interval.low, left + span * interval.high, y + 10, y + 6);
    body += text(left + span + 12, y + 15, of == 0 ? "no clouds" : fmt::format("{:.1f} %  ({} of {})", 100 * share, right, of));
  }
  return svg(left + span + 150, 24 + step * static_cast<double>(tally.classes().size()), "Accuracy of each class", body);
}

std::string reliability_svg(const LabelTally& tally) {
  const double left = 56, top = 16, side = 300;
  const auto x = [&](double share) { return left + side * share; };
  const auto y = [&](double share) { return top + side * (1 - share); };
  std::string body = fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#e3e2da\"/>\n"
                                 "<path d=\"M{} {}L{} {}\" stroke=\"#b9beb5\" stroke-dasharray=\"5 4\"/>\n", left, top, side, side, x(0), y(0), x(1), y(1));
  for (const double tick : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    body += text(x(tick), top + side + 18, fmt::format("{:.0f}%", 100 * tick), "text-anchor=\"middle\"");
    body += text(left - 8, y(tick) + 4.5, fmt::format("{:.0f}%", 100 * tick), "text-anchor=\"end\"");
  }
  for (const auto& bin : tally.bins()) {
    if (bin.clouds == 0) continue;
    const double radius = 3 + 11 * std::sqrt(static_cast<double>(bin.clouds) / static_cast<double>(tally.clouds()));
    body += fmt::format("<path d=\"M{0:.1f} {1:.1f}V{2:.1f}\" stroke=\"#a8382b\"/>\n<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"{3:.1f}\" fill=\"#2c6e4c\" fill-opacity=\".8\">"
                        "<title>{4} clouds: {5:.1f} % sure, {6:.1f} % right</title></circle>\n",
                        x(bin.confidence), y(bin.right), y(bin.confidence), radius, bin.clouds, 100 * bin.confidence, 100 * bin.right);
  }
  body += text(left + side / 2, top + side + 40, "probability that the program gives", "text-anchor=\"middle\"");
  body += text(16, top + side / 2, "share that is right", fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1f})\"", top + side / 2));
  return svg(left + side + 24, top + side + 54, fmt::format("Reliability, calibration error {:.3f}", tally.calibration_error()), body);
}

}  // namespace graft::pipelines
