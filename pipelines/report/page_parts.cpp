#include "pipelines/report/page_parts.h"

#include <fmt/format.h>

#include "pipelines/report/embedded.h"
#include "pipelines/report/html_text.h"

namespace graft::pipelines {

std::string page_start(const std::string& title, const std::string& kicker, const std::string& summary, std::string_view more_style) {
  const auto name = escape_html(title);
  std::string html = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" + name + "</title>\n<style>\n";
  html.append(kReportCss).append(more_style);
  html += "</style>\n</head>\n<body>\n<header>\n<p class=\"kicker\">" + escape_html(kicker) + "</p>\n<h1>" + name + "</h1>\n";
  if (!summary.empty()) html += "<p class=\"lead\">" + escape_html(summary) + "</p>\n";
  return html;
}

std::string page_end(const std::string& scripts) {
  return "</main>\n<footer>Made by Graft. This page holds everything it shows; it loads nothing from the network.</footer>\n" + scripts + "</body>\n</html>\n";
}

std::string page_section(const std::string& title, const std::string& lead, const std::string& body) {
  if (body.empty()) return "";
  const auto text = lead.empty() ? "" : "<p>" + escape_html(lead) + "</p>\n";
  return "<section>\n<h2>" + escape_html(title) + "</h2>\n" + text + body + "</section>\n";
}

std::string page_tile(const std::string& label, const std::string& value_html, const std::string& note) {
  return fmt::format("<div class=\"tile card\"><dt>{}</dt><dd>{}</dd><dd>{}</dd></div>\n", escape_html(label), value_html, escape_html(note));
}

std::string page_tiles(const std::string& tiles) { return tiles.empty() ? "" : "<dl class=\"tiles\">\n" + tiles + "</dl>\n"; }

std::string page_facts(const std::vector<Fact>& facts) {
  std::string rows;
  for (const auto& fact : facts) rows += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escape_html(fact.label), escape_html(fact.value));
  return rows.empty() ? "" : "<dl class=\"facts card\">\n" + rows + "</dl>\n";
}

std::string page_recipes(const std::vector<Recipe>& recipes) {
  std::string body;
  for (const auto& recipe : recipes)
    body += fmt::format("<div class=\"recipe\"><p>{}</p><pre><code>{}</code></pre></div>\n", escape_html(recipe.purpose), escape_html(recipe.command));
  return body;
}

}  // namespace graft::pipelines
