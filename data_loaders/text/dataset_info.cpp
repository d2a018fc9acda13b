#include "data_loaders/text/dataset_info.h"

#include <algorithm>

#include "data_loaders/text/raw_rows.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kInfoName = "dataset_info.json";

// A name that the system cannot even look up (too long, a folder that may not be entered) is neither; opening it tells why.
bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}
bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

struct InfoName {
  fs::path info;
  std::string entry;  ///< may be empty
};

/// Nothing if the name is an ordinary file.
std::optional<InfoName> as_info_name(const std::string& name) {
  const auto info_of = [](const fs::path& path) -> std::optional<fs::path> {
    if (path.filename() == kInfoName && is_file(path)) return path;
    if (is_folder(path) && is_file(path / kInfoName)) return path / kInfoName;
    return std::nullopt;
  };
  if (const auto info = info_of(name)) return InfoName{*info, ""};
  const auto colon = name.rfind(':');
  if (is_file(name) || is_folder(name) || colon == std::string::npos) return std::nullopt;
  if (const auto info = info_of(name.substr(0, colon))) return InfoName{*info, name.substr(colon + 1)};
  return std::nullopt;
}

class EntryReader {
 public:
  EntryReader(const fs::path& info, const std::string& name, const json& entry)
      : info_(info), name_(name), entry_(entry) {}

  std::vector<DataSource> read() {
    refuse_what_is_not_local();
    DataSource source;
    source.format = formatting();
    if (entry_.contains("columns")) read_columns(source);
    if (entry_.contains("tags")) read_tags(source.names);
    std::vector<DataSource> sources;
    for (const auto& file : files()) {
      source.file = file;
      sources.push_back(source);
    }
    return sources;
  }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& what, const std::string& expected,
                         const std::string& got) const {
    throw InvalidArgument({.where = info_.string() + ": " + name_ + (key.empty() ? "" : "." + key),
                           .what = what,
                           .expected = expected,
                           .got = got});
  }
  std::string text(const json& object, const std::string& key, const std::string& otherwise) const {
    if (!object.contains(key) || object[key].is_null()) return otherwise;
    if (!object[key].is_string()) fail(key, "is no text", "a string", object[key].type_name());
    return object[key].get<std::string>();
  }
  void refuse_what_is_not_local() const {
    if (!entry_.is_object()) fail("", "is no object", "an object with file_name", entry_.type_name());
    if (entry_.value("ranking", json(false)) == json(true))
      fail("ranking", "preference data is not supported", "data with one answer a question", "true");
    if (entry_.contains("file_name")) return;
    for (const auto* key : {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"}) {
      if (entry_.contains(key)) fail(key, "only local files are read", "file_name", key);
    }
    fail("file_name", "is missing", "a file beside dataset_info.json", "nothing");
  }
  RecordFormat formatting() const {
    const auto name = text(entry_, "formatting", "alpaca");
    if (name == "alpaca") return RecordFormat::kAlpaca;
    if (name == "sharegpt") return RecordFormat::kShareGpt;
    if (name == "openai") return RecordFormat::kOpenAi;
    fail("formatting", "unknown formatting", "alpaca, sharegpt or openai", name);
  }
  void read_columns(DataSource& source) const {
    const json& columns = entry_["columns"];
    if (!columns.is_object()) fail("columns", "is no object", "an object of column names", columns.type_name());
    auto& names = source.names;
    names.prompt = text(columns, "prompt", names.prompt);
    names.query = text(columns, "query", columns.contains("prompt") ? "" : names.query);
    names.response = text(columns, "response", names.response);
    names.history = text(columns, "history", "");
    names.system = text(columns, "system", "");
    names.messages = text(columns, "messages", names.messages);
    // A prompt column without a response column is how documents for further pre-training are declared.
    if (source.format == RecordFormat::kAlpaca && columns.contains("prompt") && !columns.contains("response")) {
      source.format = RecordFormat::kText;
      names.text = names.prompt;
    }
  }
  void read_tags(FieldNames& names) const {
    const json& tags = entry_["tags"];
    if (!tags.is_object()) fail("tags", "is no object", "an object of tag names", tags.type_name());
    names.role_tag = text(tags, "role_tag", "");
    names.content_tag = text(tags, "content_tag", "");
    const std::pair<const char*, const char*> roles[] = {{"user_tag", "user"},
                                                         {"assistant_tag", "assistant"},
                                                         {"system_tag", "system"},
                                                         {"observation_tag", "tool"},
                                                         {"function_tag", "assistant"}};
    for (const auto& [tag, role] : roles) {
      if (const auto name = text(tags, tag, ""); !name.empty()) names.role_names[name] = role;
    }
  }
  std::vector<fs::path> files() const {
    const fs::path path = info_.parent_path() / text(entry_, "file_name", "");
    if (!is_folder(path)) return {path};
    std::vector<fs::path> found;
    for (const auto& item : fs::directory_iterator(path)) {
      if (item.is_regular_file()) found.push_back(item.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  const fs::path& info_;
  const std::string& name_;
  const json& entry_;
};

std::string names_in(const json& entries) {
  std::string names;
  for (const auto& [name, entry] : entries.items()) {
    if (names.size() > 500) return names + ", ...";
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

std::vector<DataSource> read_info(const InfoName& wanted) {
  const auto content = MappedFile::open(wanted.info);
  const auto parsed = parse_row_json(content->text());
  if (!parsed) throw IoError({.where = wanted.info.string(), .what = parsed.reason()});
  const json& entries = parsed.value();
  if (!entries.is_object() || entries.empty())
    throw IoError({.where = wanted.info.string(), .what = "holds no data set entries"});
  std::string name = wanted.entry;
  if (name.empty() && entries.size() == 1) name = entries.begin().key();
  if (!entries.contains(name)) {
    throw InvalidArgument({.where = wanted.info.string(),
                           .what = name.empty() ? "several data sets; which one?" : "no such data set",
                           .expected = "one of " + names_in(entries),
                           .got = name,
                           .hint = "write " + wanted.info.string() + ":NAME"});
  }
  return EntryReader(wanted.info, name, entries[name]).read();
}

}  // namespace

std::vector<DataSource> resolve_data_name(const std::string& name) {
  if (const auto info = as_info_name(name)) return read_info(*info);
  if (is_folder(name)) {
    throw InvalidArgument({.where = name, .what = "is a folder without dataset_info.json", .expected = "a data file"});
  }
  return {DataSource{.file = name}};
}

}  // namespace graft::data
