#pragma once

#include <string>
#include <string_view>

namespace graft::formats {

/// A name out of a file, fit for one line of an error message: control bytes are escaped and it is cut at 80 characters.
std::string shown(std::string_view name);

}  // namespace graft::formats
