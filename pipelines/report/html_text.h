#pragma once

#include <string>
#include <string_view>

namespace graft::pipelines {

/// Text for element content and quoted attributes.
std::string escape_html(std::string_view text);

/// JSON for a <script> element: no "<", so that no text can end the element.
std::string escape_json_for_script(std::string_view json);

}  // namespace graft::pipelines
