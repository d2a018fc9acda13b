#pragma once

#include <string>
#include <vector>

#include "pipelines/report/report.h"

// Parts that all reports share; texts are plain, bodies are HTML.
namespace graft::pipelines {

/// <html> up to the header's title and summary, with the common style and `more_style` behind it. The header is left open.
std::string page_start(const std::string& title, const std::string& kicker, const std::string& summary, std::string_view more_style = "");
/// Closes main: the footer that every report has, then `scripts`.
std::string page_end(const std::string& scripts);
/// Empty for an empty body.
std::string page_section(const std::string& title, const std::string& lead, const std::string& body);
/// A large figure at the top of a page.
std::string page_tile(const std::string& label, const std::string& value_html, const std::string& note);
std::string page_tiles(const std::string& tiles);
std::string page_facts(const std::vector<Fact>& facts);
std::string page_recipes(const std::vector<Recipe>& recipes);

}  // namespace graft::pipelines
