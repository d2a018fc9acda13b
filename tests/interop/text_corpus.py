"""More than 10,000 lines in many scripts: real agricultural text, prose, and seeded mixtures meant to be awkward."""

import functools
import json
import random

import program

SEED = 20251125
DATA = program.SHARED / "data"

SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F), (0x591, 0x5F4),
    (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7B1), (0x900, 0x97F), (0x980, 0x9FE), (0xA01, 0xA76), (0xA81, 0xAFF), (0xB80, 0xBFA),
    (0xC00, 0xC7F), (0xC80, 0xCF3), (0xD00, 0xD7F), (0xD81, 0xDF4), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FD), (0x1400, 0x167F), (0x16A0, 0x16F8), (0x1780, 0x17F9),
    (0x1800, 0x18AA), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x209C), (0x20A0, 0x20C0), (0x2100, 0x218B),
    (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C00, 0x2C5F), (0x2D30, 0x2D7F), (0x3000, 0x303F), (0x3041, 0x30FF),
    (0x3105, 0x312F), (0x3130, 0x318E), (0x3200, 0x33FF), (0x3400, 0x3500), (0x4E00, 0x9FFF), (0xA000, 0xA4C6), (0xAC00, 0xD7A3),
    (0xF900, 0xFAD9), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F), (0xFF01, 0xFFEE), (0x10330, 0x1034A), (0x10400, 0x1044F), (0x10D30, 0x10D65),
    (0x11F02, 0x11F59), (0x12000, 0x12399), (0x13000, 0x13455), (0x16800, 0x16A38), (0x1D400, 0x1D7FF), (0x1E4D0, 0x1E4F9),
    (0x1F000, 0x1F02B), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1FAFF), (0x20000, 0x2A6DF), (0x2EBF0, 0x2EE5D),
    (0x31350, 0x323AF), (0xE0020, 0xE007F), (0xE000, 0xE0FF), (0x10FFF0, 0x10FFFF),
]
SPACES = [" ", " ", " ", "  ", "   ", "\t", "\r", "\u00a0", "\u1680", "\u180e", "\u2003", "\u2009", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f",
          "\u3000", "\ufeff", "\x0b", "\x0c", "\x1c", "\x85", " " * 17]
PIECES = ["the", "Wheat", "RICE", "it's", "they'LL", "we\u2019ve", "I'd", "'S", "'\u017f", "K\u212a", "don't", "café", "cafe\u0301", "naïve", "İstanbul",
          "straße", "ﬁeld", "12", "2024", "3.14159", "1,000,000", "0x1F4A9", "½", "²", "٣٤٥", "१२३", "៤៥", "Ⅷ", "①②", "...", "!!", "---", "==>",
          "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<0x41>", "▁", "▁▁the", "Ġ", "http://example.org/a?b=c&d=e", "user@example.org",
          "{\"json\": [1, 2.5]}", "C++20", "水稻", "产量是多少", "これは", "テスト", "한국어", "नमस्ते", "किसान", "مرحبا", "בעולם", "สวัสดี", "Привет",
          "Ελληνικά", "👩🏽\u200d🌾", "👨\u200d👩\u200d👧", "🇮🇳", "🌾🐄🚁", "👍🏿", "❤\ufe0f", "1\ufe0f\u20e3", "Z\u0351\u036b\u0343a\u0321l", "\u0301",
          "\ufffd", "\ud7a3", "\ue000", "\U0010ffff"]


def _word(rng: random.Random) -> str:
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.choice([1, 1, 2, 3, 5, 8, 13])))


def _mixture(rng: random.Random) -> str:
    out = []
    for _ in range(rng.randint(0, 12)):
        kind = rng.random()
        if kind < 0.35:
            out.append(_word(rng))
        elif kind < 0.75:
            out.append(rng.choice(PIECES))
        elif kind < 0.80:
            out.append("".join(rng.choice("0123456789") for _ in range(rng.randint(1, 12))))
        elif kind < 0.84:
            out.append(chr(rng.choice([*range(0x00, 0x0A), *range(0x0B, 0x20), 0x7F, *range(0x80, 0xA0)])))
        elif kind < 0.88:
            out.append(rng.choice("aA!-=_é水") * rng.randint(2, 40))
        else:
            out.append(rng.choice(SPACES))
        if rng.random() < 0.5:
            out.append(rng.choice(SPACES))
    return "".join(out)


def _anything(rng: random.Random) -> str:
    """Any scalar values at all, assigned or not."""
    return "".join(chr(c) for c in (rng.randint(1, 0x10FFFF) for _ in range(rng.randint(1, 12))) if not 0xD800 <= c < 0xE000 and c != 0x0A)


def _real(limit: int) -> list[str]:
    lines = json.loads((DATA / "tokenizers" / "texts.json").read_text(encoding="utf-8"))
    lines += (DATA / "tokenizers" / "sentencepiece" / "botchan.txt").read_text(encoding="utf-8").split("\n")[:1500]
    for file, keys in (("agri/icar-qna/soil.jsonl", ("instruction", "output")), ("agri/agxqa/agxqa.jsonl", ("question", "context")),
                       ("agri/agrieval/question_main.jsonl", None), ("agri/seedbench/mcq_base.jsonl", None)):
        for row in (DATA / file).read_text(encoding="utf-8").split("\n")[:900]:
            if row:
                values = json.loads(row)
                lines += [str(values[key]) for key in keys] if keys else [json.dumps(values, ensure_ascii=False)[:600]]
    return [part for line in lines for part in line.split("\n")][:limit]


@functools.lru_cache(maxsize=None)
def lines(count: int = 11000) -> list[str]:
    rng = random.Random(SEED)
    real = _real(4500)
    made = [_anything(rng) if i % 8 == 0 else _mixture(rng) for i in range(count - len(real))]
    return real + [line.replace("\n", "") for line in made]
