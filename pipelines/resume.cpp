#include "pipelines/resume.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <system_error>

#include "kernels/base/error.h"
#include "peft_core/base/log.h"
#include "peft_core/formats/safetensors.h"

namespace graft::pipelines {
namespace {

namespace fs = std::filesystem;
using formats::DType;
using formats::TensorBytes;

constexpr const char* kFormat = "graft training state 1";
const std::string kParameter = "parameter/", kFirst = "first_moment/", kSecond = "second_moment/", kSteps = "steps", kStart = "start/";

template <class T>
TensorBytes bytes_of(DType dtype, std::vector<int64_t> shape, std::span<const T> values) {
  return {dtype, std::move(shape), std::as_bytes(values)};
}

std::vector<Optimizer::State> states_by_name(Optimizer& optimizer) {
  auto states = optimizer.states();
  std::sort(states.begin(), states.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return states;
}

/// The moments that the optimizer keeps, each with the prefix of its tensors' names.
std::vector<std::pair<std::string, std::span<float>>> moments_of(const Optimizer::State& state) {
  std::vector<std::pair<std::string, std::span<float>>> moments;
  if (!state.first_moment.empty()) moments.emplace_back(kFirst, state.first_moment);
  if (!state.second_moment.empty()) moments.emplace_back(kSecond, state.second_moment);
  return moments;
}

std::string exact(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%a", value);
  return text;
}

std::map<std::string, std::string> lines_by_key(const std::string& fingerprint) {
  std::map<std::string, std::string> lines;
  std::istringstream in(fingerprint);
  for (std::string line; std::getline(in, line);) {
    const auto split = line.find('=');
    if (split == std::string::npos) {
      lines["fingerprint"] += line;
    } else {
      lines[line.substr(0, split)] = line.substr(split + 1);
    }
  }
  return lines;
}

void expect_same_run(const fs::path& file, const std::string& saved, const std::string& current) {
  if (saved == current) return;
  const auto then = lines_by_key(saved);
  const auto now = lines_by_key(current);
  const auto text = [](const auto& lines, const std::string& key) {
    const auto line = lines.find(key);
    return line == lines.end() ? key + " (absent)" : key + " " + line->second;
  };
  std::string expected, got;
  auto keys = then;
  keys.insert(now.begin(), now.end());
  for (const auto& [key, unused] : keys) {
    if (text(then, key) == text(now, key)) continue;
    expected += (expected.empty() ? "" : ", ") + text(then, key);
    got += (got.empty() ? "" : ", ") + text(now, key);
  }
  throw InvalidArgument({.where = file.string(),
                         .what = "holds the state of a run with other settings",
                         .expected = expected,
                         .got = got,
                         .hint = "resume with the settings of that run, or start anew in another folder"});
}

const TensorBytes& tensor_like(const formats::SafetensorsFile& file, const fs::path& path, const std::string& name,
                               DType dtype, const std::vector<int64_t>& shape) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end() || found->second.dtype != dtype || found->second.shape != shape) {
    throw InvalidArgument({.where = path.string(),
                           .what = "holds no tensor \"" + name + "\" of the shape that this run trains",
                           .hint = "the method or its settings differ from those of the saved run"});
  }
  return found->second;
}

std::string metadata_value(const formats::SafetensorsFile& file, const fs::path& path, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    throw IoError({.where = path.string(), .what = "is no training state: its metadata lacks \"" + key + "\""});
  }
  return found->second;
}

TrainProgress read_progress(const formats::SafetensorsFile& file, const fs::path& path) {
  if (metadata_value(file, path, "format") != kFormat) {
    throw IoError({.where = path.string(),
                   .what = "is no training state",
                   .expected = kFormat,
                   .got = metadata_value(file, path, "format")});
  }
  TrainProgress progress;
  progress.step = std::strtoll(metadata_value(file, path, "step").c_str(), nullptr, 10);
  progress.total_steps = std::strtoll(metadata_value(file, path, "total_steps").c_str(), nullptr, 10);
  progress.threads = std::atoi(metadata_value(file, path, "threads").c_str());
  progress.first_loss = std::strtod(metadata_value(file, path, "first_loss").c_str(), nullptr);
  progress.last_loss = std::strtod(metadata_value(file, path, "last_loss").c_str(), nullptr);
  progress.fingerprint = metadata_value(file, path, "fingerprint");
  return progress;
}

void copy_to(const at::Tensor& tensor, const TensorBytes& stored) {
  auto values = at::empty(stored.shape, at::kFloat);
  std::memcpy(values.mutable_data_ptr<float>(), stored.bytes.data(), stored.bytes.size());
  tensor.detach().copy_(values);
}

/// Every copy is checked before the first one is made.
void restore_tensors(const formats::SafetensorsFile& file, const fs::path& path, Optimizer& optimizer, const StartTensors& start) {
  auto states = states_by_name(optimizer);
  std::vector<std::pair<void*, const TensorBytes*>> copies;
  std::vector<const TensorBytes*> values;
  for (const auto& state : states) {
    const auto shape = state.parameter.sizes().vec();
    values.push_back(&tensor_like(file, path, kParameter + state.name, DType::kF32, shape));
    for (const auto& [prefix, moment] : moments_of(state))
      copies.emplace_back(moment.data(), &tensor_like(file, path, prefix + state.name, DType::kF32, shape));
  }
  for (const auto& [name, tensor] : start) tensor_like(file, path, kStart + name, DType::kF32, tensor.sizes().vec());
  if (file.tensors().size() != values.size() + copies.size() + start.size() + 1) {
    throw InvalidArgument({.where = path.string(), .what = "holds more tensors than this run trains"});
  }
  const auto count = static_cast<int64_t>(states.size());
  const auto& steps = tensor_like(file, path, kSteps, DType::kI64, {count});
  // First the whole tensors of the start, of which a trained one may be a part.
  for (const auto& [name, tensor] : start) copy_to(tensor, file.tensors().at(kStart + name));
  for (const auto& [target, source] : copies) std::memcpy(target, source->bytes.data(), source->bytes.size());
  for (size_t i = 0; i < states.size(); ++i) {
    copy_to(states[i].parameter, *values[i]);
    std::memcpy(states[i].steps, steps.bytes.data() + i * sizeof(int64_t), sizeof(int64_t));
    states[i].parameter.unsafeGetTensorImpl()->bump_version();
  }
}

}  // namespace

fs::path checkpoint_file(const fs::path& run_dir) { return run_dir / "checkpoint" / "state.safetensors"; }

void prepare_checkpoint_dir(const fs::path& run_dir, bool resume) {
  const auto file = checkpoint_file(run_dir);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) throw IoError({.where = file.parent_path().string(), .what = "cannot be made: " + error.message()});
  for (const auto& entry : fs::directory_iterator(file.parent_path(), error)) {
    if (entry.path().filename().string().starts_with("." + file.filename().string() + "."))
      fs::remove(entry.path(), error);
  }
  if (resume || !fs::exists(file)) return;
  const auto aside = file.parent_path() / "state.previous.safetensors";
  fs::rename(file, aside, error);
  if (error) throw IoError({.where = file.string(), .what = "cannot be moved aside: " + error.message()});
  log_info("the folder held the state of an earlier run; it is now " + aside.string());
}

void save_checkpoint(const fs::path& run_dir, const TrainProgress& progress, Optimizer& optimizer, const StartTensors& start) {
  std::map<std::string, TensorBytes> tensors;
  std::vector<int64_t> steps;
  std::vector<at::Tensor> written;  // what the bytes belong to
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    written.push_back(tensor.detach().to(at::kCPU, at::kFloat).contiguous());
    const std::span<const float> values(written.back().const_data_ptr<float>(), static_cast<size_t>(tensor.numel()));
    tensors[name] = bytes_of(DType::kF32, tensor.sizes().vec(), values);
  };
  for (const auto& state : states_by_name(optimizer)) {
    add(kParameter + state.name, state.parameter);
    for (const auto& [prefix, moment] : moments_of(state))
      tensors[prefix + state.name] = bytes_of<float>(DType::kF32, state.parameter.sizes().vec(), moment);
    steps.push_back(*state.steps);
  }
  for (const auto& [name, tensor] : start) add(kStart + name, tensor);
  tensors[kSteps] = bytes_of<int64_t>(DType::kI64, {static_cast<int64_t>(steps.size())}, steps);
  formats::write_safetensors(checkpoint_file(run_dir), tensors,
                             {{"format", kFormat},
                              {"step", std::to_string(progress.step)},
                              {"total_steps", std::to_string(progress.total_steps)},
                              {"threads", std::to_string(progress.threads)},
                              {"first_loss", exact(progress.first_loss)},
                              {"last_loss", exact(progress.last_loss)},
                              {"fingerprint", progress.fingerprint}});
}

std::optional<TrainProgress> load_checkpoint(const fs::path& run_dir, const std::string& fingerprint,
                                             Optimizer& optimizer, const StartTensors& start) {
  const auto path = checkpoint_file(run_dir);
  if (!fs::exists(path)) return std::nullopt;
  const auto file = formats::SafetensorsFile::open(path);
  const auto progress = read_progress(file, path);
  expect_same_run(path, progress.fingerprint, fingerprint);
  restore_tensors(file, path, optimizer, start);
  return progress;
}

}  // namespace graft::pipelines
