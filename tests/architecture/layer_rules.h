#pragma once

#include <string>
#include <vector>

#include "tests/architecture/source_tree.h"

namespace graft::testing {

/// The arrows of docs/architecture.md: each quoted include that points upwards or sideways, as "file:line: ...".
std::vector<std::string> broken_arrows(const std::vector<SourceFile>& files);

/// Each include of a foreign library outside the files that may see it, and of torch/torch.h in any header.
std::vector<std::string> misplaced_libraries(const std::vector<SourceFile>& files);

/// Quoted includes that name no file of the repository: paths start at its root.
std::vector<std::string> unknown_includes(const std::vector<SourceFile>& files);

/// Sources that do not include their own header first. The first place is what proves that the header compiles alone.
std::vector<std::string> own_header_not_first(const std::vector<SourceFile>& files);

}  // namespace graft::testing
