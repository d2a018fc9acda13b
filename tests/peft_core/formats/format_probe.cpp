// For the interoperability tests: does with one file what the name of each tensor asks, and writes the answers.
//   blocks IN OUT      U8 "TYPE.name" -> F32 "name.f32" and BF16 "name.bf16"
//   q8_0 IN OUT        F32 "name" -> U8 "name"
//   nf4 IN OUT         F32 "blocksize.name" -> "name.codes", "name.absmax", ..., plain and nested, and the values expanded again
//   gguf-copy IN OUT   reads a GGUF and writes it again
#include <cstring>
#include <iostream>
#include <list>

#include "kernels/base/error.h"
#include "kernels/nf4/nf4.h"
#include "peft_core/formats/gguf.h"
#include "peft_core/formats/safetensors.h"

namespace graft {
namespace {

using formats::DType;

/// Tensors to be written, with their storage.
class Answers {
 public:
  template <class T>
  void add(const std::string& name, DType dtype, const std::vector<T>& values) {
    const auto* begin = reinterpret_cast<const std::byte*>(values.data());
    storage_.emplace_back(begin, begin + values.size() * sizeof(T));
    tensors_[name] = {dtype, {static_cast<int64_t>(values.size())}, storage_.back()};
  }
  void write(const std::string& file) const { formats::write_safetensors(file, tensors_); }

 private:
  std::list<std::vector<std::byte>> storage_;
  std::map<std::string, formats::TensorBytes> tensors_;
};

std::vector<float> floats(const formats::TensorBytes& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

kernels::GgmlType type_named(const std::string& name) {
  for (uint32_t number = 0; number < 64; ++number) {
    const auto type = static_cast<kernels::GgmlType>(number);
    if (kernels::is_known_ggml_type(number) && kernels::block_layout(type).name == name) return type;
  }
  throw InvalidArgument({.where = name, .what = "is not a type"});
}

void expand_blocks(const std::string& key, const formats::TensorBytes& tensor, Answers& answers) {
  const auto dot = key.find('.');
  const auto type = type_named(key.substr(0, dot));
  const auto layout = kernels::block_layout(type);
  const auto count = tensor.bytes.size() / layout.bytes * layout.elements;
  std::vector<float> wide(count);
  std::vector<uint16_t> narrow(count);
  kernels::dequantize_blocks(type, tensor.bytes, wide);
  kernels::dequantize_blocks(type, tensor.bytes, narrow);
  answers.add(key.substr(dot + 1) + ".f32", DType::kF32, wide);
  answers.add(key.substr(dot + 1) + ".bf16", DType::kBF16, narrow);
}

void quantize(const std::string& key, const formats::TensorBytes& tensor, Answers& answers) {
  const auto values = floats(tensor);
  std::vector<std::byte> blocks(values.size() / 32 * 34);
  kernels::quantize_q8_0(values, blocks);
  answers.add(key, DType::kU8, blocks);
}

void nf4(const std::string& key, const formats::TensorBytes& tensor, Answers& answers) {
  const auto dot = key.find('.');
  const auto block_size = std::stoll(key.substr(0, dot));
  const auto name = key.substr(dot + 1);
  const auto values = floats(tensor);
  const auto plain = kernels::quantize_nf4(values, block_size, /*double_quantise=*/false);
  const auto nested = kernels::quantize_nf4(values, block_size);
  std::vector<float> wide(values.size());
  std::vector<uint16_t> narrow(values.size());
  kernels::dequantize_nf4(nested, 0, wide);
  kernels::dequantize_nf4(nested, 0, narrow);
  answers.add(name + ".codes", DType::kU8, nested.codes);
  answers.add(name + ".absmax", DType::kF32, plain.absmax);
  answers.add(name + ".absmax_codes", DType::kU8, nested.absmax_codes);
  answers.add(name + ".nested_code", DType::kF32, nested.nested_code);
  answers.add(name + ".nested_absmax", DType::kF32, nested.nested_absmax);
  answers.add(name + ".nested_offset", DType::kF32, std::vector<float>{nested.nested_offset});
  answers.add(name + ".f32", DType::kF32, wide);
  answers.add(name + ".bf16", DType::kBF16, narrow);
}

formats::GgufScalar scalar_of(const formats::GgufValue& value) {
  using formats::GgufScalar;
  constexpr GgufScalar kTypes[] = {GgufScalar::kBool, GgufScalar::kI32,  GgufScalar::kU64, GgufScalar::kF32,   GgufScalar::kString,
                                   GgufScalar::kBool, GgufScalar::kI32, GgufScalar::kF32, GgufScalar::kString};
  return kTypes[value.index()];
}

void copy_gguf(const std::string& in, const std::string& out) {
  const auto file = formats::GgufFile::open(in);
  std::vector<formats::GgufEntry> entries;
  std::vector<formats::GgufTensor> tensors;
  for (const auto& [key, value] : file.metadata()) entries.push_back({key, scalar_of(value), value});
  for (const auto& [name, tensor] : file.tensors()) tensors.push_back(tensor);
  formats::write_gguf(out, entries, tensors);
}

int run(const std::string& task, const std::string& in, const std::string& out) {
  if (task == "gguf-copy") return copy_gguf(in, out), 0;
  Answers answers;
  const auto file = formats::SafetensorsFile::open(in);
  for (const auto& [key, tensor] : file.tensors()) {
    if (task == "blocks") expand_blocks(key, tensor, answers);
    if (task == "q8_0") quantize(key, tensor, answers);
    if (task == "nf4") nf4(key, tensor, answers);
  }
  answers.write(out);
  return 0;
}

}  // namespace
}  // namespace graft

int main(int count, char** arguments) {
  try {
    if (count == 4) return graft::run(arguments[1], arguments[2], arguments[3]);
    std::cerr << "usage: format_probe blocks|q8_0|nf4|gguf-copy IN OUT\n";
    return 2;
  } catch (const graft::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
