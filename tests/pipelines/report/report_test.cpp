#include "pipelines/report/report.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "pipelines/report/curve.h"
#include "pipelines/report/html_text.h"
#include "pipelines/report/score_table.h"
#include "tests/pipelines/report/sample_content.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// The page without its scripts and style: what a browser without JavaScript shows.
std::string visible(const std::string& html) {
  std::string text;
  for (size_t at = 0; at < html.size();) {
    const auto script = std::min(html.find("<script", at), html.find("<style", at));
    text += html.substr(at, script - at);
    if (script == std::string::npos) break;
    at = html.find(html[script + 2] == 'c' ? "</script>" : "</style>", script) + 8;
  }
  return text;
}

size_t count_of(const std::string& text, const std::string& piece) {
  size_t count = 0;
  for (auto at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1)) ++count;
  return count;
}

TEST(Report, ShowsEverythingWithoutJavaScript) {
  const auto page = visible(report_html(testing::sample_report()));
  for (const auto* text : {"farm questions &amp; answers", "20261125-195632-3f9a2c", "34.4%", "53.1%", "+18.7 points, better", "2.871", "1.642",
                           "−1.229 (−43%), better", "no change", "Yellow stem borer.", "train.jsonl:17: no answer", "merge --model", "300, held out"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(Report, NoTextCanBecomeMarkup) {
  const auto html = report_html(testing::sample_report());
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;never&#39;)"));
  EXPECT_THAT(html, HasSubstr("&lt;b&gt;neem&lt;/b&gt; seed extract made &amp; used?"));
  EXPECT_EQ(count_of(html, "<script"), 3u);
  EXPECT_EQ(count_of(html, "</script>"), 3u);
}

TEST(Report, LoadsNothingFromTheNetwork) {
  const auto html = report_html(testing::sample_report());
  EXPECT_EQ(count_of(html, " src="), 0u);
  EXPECT_EQ(count_of(html, "<link"), 0u);
  EXPECT_EQ(count_of(html, "@import"), 0u);
  EXPECT_EQ(count_of(html, "url("), 0u);
  EXPECT_THAT(html, HasSubstr("Chart.js v3")) << "the charts are inside";
}

TEST(Report, TagsAreBalanced) {
  const auto page = visible(report_html(testing::sample_report()));
  for (const std::string tag : {"section", "table", "tr", "td", "th", "dl", "dt", "dd", "div", "figure", "article", "details", "ul", "li", "p", "h1", "h2", "h3"}) {
    EXPECT_EQ(count_of(page, "<" + tag + ">") + count_of(page, "<" + tag + " "), count_of(page, "</" + tag + ">")) << tag;
  }
}

TEST(Report, CurveDataIsJson) {
  auto content = testing::sample_report();
  content.steps[4].loss = std::numeric_limits<double>::quiet_NaN();
  const auto html = report_html(content);
  const std::string begin = "id=\"curves\">";
  const auto at = html.find(begin) + begin.size();
  const auto data = nlohmann::json::parse(html.substr(at, html.find("</script>", at) - at));
  EXPECT_EQ(data["loss"].size(), 300u);
  EXPECT_TRUE(data["loss"][4][1].is_null());
  EXPECT_EQ(data["held_out"][0][0], 0);
}

TEST(Report, EmptyPartsAreLeftOut) {
  const auto html = report_html({.title = "Empty"});
  EXPECT_EQ(count_of(html, "<section"), 0u);
  EXPECT_EQ(count_of(html, "<script"), 0u);
  EXPECT_EQ(count_of(html, "class=\"tile "), 0u);
}

TEST(Report, IsWrittenAsAFile) {
  testing::TempDir dir;
  write_report(dir / "report.html", testing::sample_report());
  EXPECT_EQ(testing::read_text(dir / "report.html"), report_html(testing::sample_report()));
  if (const char* keep = std::getenv("GRAFT_KEEP_REPORT")) write_report(keep, testing::sample_report());  // to look at it in a browser
}

TEST(ScoreTable, SaysWhetherAChangeIsForTheBetter) {
  EXPECT_EQ(score_change_text({"a", "", 2.0, 1.0, Score::Kind::kNumber, Score::Better::kLower}), "−1.000 (−50%), better");
  EXPECT_EQ(score_change_text({"a", "", 2.0, 3.0, Score::Kind::kNumber, Score::Better::kLower}), "+1.000 (+50%), worse");
  EXPECT_EQ(score_change_text({"a", "", 0.5, 0.25, Score::Kind::kShare}), "−25.0 points, worse");
  EXPECT_EQ(score_change_text({"a", "", 0.5, 0.5001, Score::Kind::kShare}), "no change");
  EXPECT_EQ(score_change_text({"a", "", std::nullopt, 0.5}), "");
  EXPECT_EQ(score_change_text({"a", "", 72.38, 37.59, Score::Kind::kNumber, Score::Better::kLower}), "−34.8 (−48%), better");
  EXPECT_THAT(score_table({{"a", "", std::nullopt, std::numeric_limits<double>::infinity()}}), HasSubstr("–"));
}

TEST(ScoreTable, CallsAChangeThatOtherItemsMightNotShowWhatItIs) {
  const Score unsure{.name = "F1", .before = 0.144, .after = 0.154, .kind = Score::Kind::kShare, .change_low = -0.03, .change_high = 0.05};
  auto sure = unsure;
  sure.change_low = 0.002;
  EXPECT_EQ(score_change_text(unsure), "+1.0 points, within chance");
  EXPECT_EQ(score_change_text(sure), "+1.0 points, better");
  EXPECT_THAT(score_table({unsure}), AllOf(HasSubstr("95% interval −3.0 to +5.0"), Not(HasSubstr("number better"))));
  EXPECT_THAT(score_table({sure}), HasSubstr("number better"));
}

TEST(Curve, ThinningKeepsTheEndAndTheMean) {
  std::vector<CurvePoint> points;
  for (int64_t i = 1; i <= 1000; ++i) points.push_back({i, static_cast<double>(i % 2)});
  const auto thin = thin_out(points, 10);
  ASSERT_EQ(thin.size(), 10u);
  EXPECT_EQ(thin.back().step, 1000);
  for (const auto& point : thin) EXPECT_DOUBLE_EQ(point.value, 0.5);
  EXPECT_EQ(thin_out(points, 1000).size(), 1000u);
  EXPECT_TRUE(thin_out({}, 10).empty());
}

TEST(Curve, SmoothingKeepsAConstantAndSkipsWhatIsNotFinite) {
  const auto flat = smoothed({{1, 2.0}, {2, 2.0}, {3, std::numeric_limits<double>::quiet_NaN()}, {4, 2.0}});
  ASSERT_EQ(flat.size(), 3u);
  for (const auto& point : flat) EXPECT_DOUBLE_EQ(point.value, 2.0);
}

TEST(HtmlText, EscapesWhatMatters) {
  EXPECT_EQ(escape_html("<a href=\"x\" id='y'>&"), "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;");
  EXPECT_EQ(nlohmann::json::parse(escape_json_for_script("\"</script>\"")), "</script>");
}

}  // namespace
}  // namespace graft::pipelines
