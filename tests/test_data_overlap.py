"""The contamination guard: what counts as overlap, what does not, and what is left of the training file."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from jurist.cli.overlap import overlap
from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Case, Message, response_text
from jurist.data.overlap import Index, OverlapReport, Rule, match, read_cases
from jurist.data.overlap.index import compared_texts
from jurist.data.overlap.postings import Postings
from jurist.data.overlap.words import grams, words

LONG = "a train leaves the old station at noon and meets another one near the river after two hours"
REPLY = "they meet after two hours because both of them travel at the very same speed all day"
WORDS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=40)


def case(prompt: str | Sequence[tuple[str, str]], *responses: str, name: str = "1") -> Case:
    turns = [("user", prompt)] if isinstance(prompt, str) else prompt
    return Case(name, tuple(Message(*turn) for turn in turns), responses or ("",))


def indexed(*cases: Case, rule: Rule | None = None, **others: Sequence[Case]) -> Index:
    index = Index(rule or Rule())
    for name, some in {"bench": cases, **others}.items():
        index.add(name, some)
    index.freeze()
    return index


def hits(row: Case, index: Index) -> list[tuple[str, str, str, float]]:
    """(kind, text of the row, text of the benchmark, score) of each hit."""
    return [(h.kind, h.field, h.part, h.score) for h, *_ in match(row, 1, index)]


def numbered(n: int, start: int = 0) -> str:
    return " ".join(f"w{i}" for i in range(start, start + n))


def disguise(text: str) -> list[str]:
    """A text in other case and punctuation, and with a sentence before or behind it."""
    other = "".join(
        c if c.isalnum() or c in "+/<^\n" else "  " for c in text.replace("'", "").replace("’", "")
    )
    return [other.upper(), f"{text} Give your reasons, please.", f"Somebody asked me this. {text}"]


def rows_file(path: Path, *prompts: str) -> Path:
    """JSON lines of pairs with these prompts."""
    rows = [
        {"prompt": p, "chosen": f"{path.stem} {i}", "rejected": f"not {path.stem} {i}"}
        for i, p in enumerate(prompts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What's 1,000 €?", "WHATS  1000", True),
        ("don’t «stop»", "Don't stop.", True),
        ("Straße ﬁne Ⅷ", "STRASSE FINE VIII", True),
        ("a_b-c", "a b c", True),
        ("2 + 3", "2 - 3", False),
        ("x < 3", "x > 3", False),
        ("(100, 200)", "(100,200)", False),  # a comma before three digits is taken for thousands
    ],
)
def test_texts_are_the_same_if_their_words_are(one: str, other: str, same: bool):
    assert (words(one) == words(other)) is same


def test_scripts_without_spaces_have_a_word_for_each_character():
    assert words("請說明GPU的原理。") == [*"請說明", "gpu", *"的原理"]
    assert words("...!? 🙂") == []


@given(WORDS, st.integers(2, 6))
def test_there_is_a_hash_for_each_sequence_of_words(listed: list[str], n: int):
    assert len(grams(listed, n)) == len(set(zip(*(listed[i:] for i in range(n)), strict=False)))


@given(WORDS.filter(lambda x: len(x) >= 3))
def test_a_text_always_overlaps_itself(listed: list[str]):
    text = " ".join(listed)
    assert hits(case(text), indexed(case(text))) == [("same", "prompt", "prompt", 1.0)]


def naive(one: list[str], other: list[str], bench: list[list[str]], rule: Rule) -> float | None:
    """The definition, word by word: share of the shorter text's sequences, boilerplate left out."""
    sequences = lambda x: set(zip(*(x[i:] for i in range(rule.ngram)), strict=False))
    held = [sequences(x) for x in {tuple(x) for x in bench} if len(x) >= rule.words]
    a, b = ({g for g in sequences(x) if sum(g in h for h in held) <= rule.common} for x in (one, other))
    shorter = min(len(a), len(b))
    if min(len(one), len(other)) < rule.words or shorter < rule.least or not a & b:
        return None
    return len(a & b) / shorter if len(a & b) / shorter >= rule.threshold else None


@given(
    WORDS, st.lists(WORDS, min_size=1, max_size=8), st.integers(1, 4), st.sampled_from([0, 0.3, 0.6, 0.8, 1])
)
def test_near_is_what_its_definition_says(
    row: list[str], bench: list[list[str]], common: int, threshold: float
):
    rule = Rule(ngram=2, threshold=threshold, words=4, common=common)
    index = indexed(*(case(" ".join(x)) for x in bench), rule=rule)
    sample = next(compared_texts(case(" ".join(row)), rule))
    held = lambda text: tuple(bench[index.texts[text].holders[0].case])
    found = {held(text): score for text, score in index.near(sample)}
    scores = {tuple(x): naive(row, x, bench, rule) for x in bench}
    assert found == {x: score for x, score in scores.items() if score is not None}


@given(WORDS, WORDS)
def test_the_score_is_the_same_from_both_sides(one: list[str], other: list[str]):
    rule = Rule(ngram=3, threshold=0, words=3)
    a, b = case(" ".join(one)), case(" ".join(other))
    assert [x[3] for x in hits(a, indexed(b, rule=rule))] == [x[3] for x in hits(b, indexed(a, rule=rule))]


@given(st.lists(WORDS, min_size=2, max_size=6), WORDS, st.randoms(use_true_random=False))
def test_neither_order_nor_other_benchmarks_change_a_hit(
    bench: list[list[str]], row: list[str], dice: Random
):
    rule = Rule(ngram=2, threshold=0.3, words=4, common=2)
    cases = [case(" ".join(x), name=" ".join(x)) for x in bench]
    mixed = dice.sample(cases, len(cases))
    first = match(case(" ".join(row)), 1, indexed(*cases, rule=rule))
    again = match(case(" ".join(row)), 1, indexed(*mixed, rule=rule, second=cases[:1]))
    assert {m.hit for m in first} == {m.hit for m in again if m.hit.benchmark == "bench"}


@pytest.mark.parametrize(("n", "near"), [(16, False), (17, True)])
def test_one_changed_word_leaves_seventeen_words_near(n: int, near: bool):
    changed = numbered(n).replace("w8", "other")
    found = hits(case(changed), indexed(case(numbered(n))))
    assert found == ([("near", "prompt", "prompt", 8 / 13)] if near else [])


@pytest.mark.parametrize(("shared_words", "found"), [(12, False), (13, True)])
def test_the_rule_of_gpt3_is_any_thirteen_words(shared_words: int, found: bool):
    rule = Rule(ngram=13, threshold=0)
    row = f"{numbered(40, 100)} {numbered(shared_words)} {numbered(40, 200)}"
    assert bool(hits(case(row), indexed(case(numbered(60)), rule=rule))) is found
    assert not hits(case(row), indexed(case(numbered(60))))


@pytest.mark.parametrize(
    ("row", "bench", "expected"),
    [
        (case("hi"), case("Hi!"), []),
        (
            case("hi", REPLY),
            case("Hi!", REPLY),
            [("pair", "prompt", "prompt"), ("pair", "response 1", "response")],
        ),
        (case("hi", "hello"), case("hi", "hello"), []),
        (case("name a prime"), case("Name a prime."), [("same", "prompt", "prompt")]),
        (case("name a prime please"), case("Name a prime."), []),
        (case("q", "no", REPLY), case("r", REPLY), [("same", "response 2", "response")]),
        (case(LONG, "no"), case("why is that so", LONG), []),  # prompts meet prompts, responses responses
        (case(f"{LONG} and so on"), case(LONG), [("near", "prompt", "prompt")]),
        (case(LONG), case(f"{LONG} {numbered(99)}"), [("near", "prompt", "prompt")]),
        (case([("system", REPLY), ("user", LONG)]), case(LONG), [("same", "prompt", "prompt")]),
        (
            case([("user", "hi"), ("assistant", "hello"), ("user", LONG)]),
            case([("user", "x y z"), ("assistant", "yes"), ("user", LONG)]),
            [("near", "last turn", "prompt"), ("same", "last turn", "last turn")],
        ),
        (
            case([("user", "a"), ("assistant", "b"), ("user", "tell me more about it")]),
            case([("user", "c"), ("assistant", "d"), ("user", "tell me more about it")]),
            [],
        ),
    ],
)
def test_what_counts_and_what_does_not(row: Case, bench: Case, expected: list[tuple[str, str, str]]):
    assert [hit[:3] for hit in hits(row, indexed(bench))] == expected


def test_a_pair_names_the_case_that_holds_both():
    bench = [case(LONG, "other", name="1"), case(LONG, "yes", "no", name="2"), case(LONG, "no", name="3")]
    found = match(case(LONG, "No."), 7, indexed(*bench))
    assert (found[0].hit.kind, found[0].hit.case, found[0].hit.line) == ("pair", "2", 7)
    assert (found[0].hit.cases, found[0].cases) == (3, {0, 1, 2})


def test_boilerplate_and_stock_phrases_are_nobodys():
    frame = "take your best guess and then write the letter five times in a single string please"
    bench = [case(f"{numbered(20, 50 * i)} {frame}", REPLY, name=str(i)) for i in range(11)]
    other = case(f"{numbered(14, 9000)} {frame}", f"{REPLY} my friend")
    assert hits(other, indexed(*bench)) == []
    assert [h[0] for h in hits(other, indexed(*bench[:10]))] == ["near"]  # ten times is no boilerplate
    assert {h[:2] for h in hits(bench[3], indexed(*bench))} == {("pair", "prompt"), ("pair", "response 1")}


def test_a_bitmap_and_shelves_lose_nothing():
    dice = Random(0)
    postings, held = Postings(), [{dice.getrandbits(52) for _ in range(300)} for _ in range(40)]
    held += [held[0] | {1, 2, 3}, {0, (1 << 52) - 1}]
    for text, some in enumerate(held):
        postings.add(text, some)
    postings.freeze([0] * len(held), common=10)
    for text, some in enumerate(held):
        assert postings.count(some)[text] == len(some) == postings.sizes[text]
    assert postings.count(dice.getrandbits(52) for _ in range(10_000)) == {}


@pytest.mark.parametrize(
    ("row", "prompt", "responses"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "q", ("a", "b")),
        ({"question": "q", "answer": 4, "level": 2}, "q", ("4",)),
        ({"problem": "q", "solution": "a"}, "q", ("a",)),
        ({"instruction": "q", "input": "i", "output": "a"}, "q\n\ni", ("a",)),
        ({"prompt": "q", "key": 7}, "q", ("",)),
        (
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            "q",
            ("a",),
        ),
        ({"messages": [{"role": "user", "content": "q"}]}, "q", ("",)),
    ],
)
def test_rows_without_pairs_are_read(
    tmp_path: Path, row: dict[str, object], prompt: str, responses: tuple[str]
):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{json.dumps(row)}\n")
    read = next(read_cases(path))
    assert (read.number, read.line, read.case.prompt[0].content) == (1, 2, prompt)
    assert tuple(map(response_text, read.case.responses)) == responses


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "q", "respones": "a"}', ["rows.jsonl:1", "did you mean 'responses'"]),
        ('{"text": "q"}', ["rows.jsonl:1: prompt: is missing"]),
        ('{"messages": []}', ["rows.jsonl:1: prompt", "without turns"]),
        ('{"prompt": "q", "chosen": true, "rejected": "b"}', ["rows.jsonl:1: chosen"]),
        ("[1]", ["rows.jsonl:1: a row must be an object"]),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, line: str, words: list[str]):
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    with pytest.raises(InputError) as error:
        list(read_cases(path))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("ending", [b"\n", b""])
def test_the_filtered_file_is_the_input_minus_hits_byte_for_byte(tmp_path: Path, zipped: bool, ending: bytes):
    lines = [
        b'{"prompt" :"one two three",  "chosen":"\\u00e9","rejected":"b", "x": 1.50}\r\n',
        json.dumps({"prompt": disguise(LONG)[0], "chosen": "a", "rejected": "b"}).encode() + b"\n",
        b"\n",
        b'{"prompt":"not this","chosen":"a","rejected":true}\n',
        '{"prompt":"vier fünf","chosen":"a","rejected":"b"}'.encode() + ending,
    ]
    path = tmp_path / ("train.jsonl" + ".gz" * zipped)
    path.write_bytes((gzip.compress if zipped else bytes)(b"".join(lines)))
    bench, clean = rows_file(tmp_path / "bench.jsonl", LONG), tmp_path / "clean.jsonl"
    assert overlap(str(path), against=[str(bench)], out=clean, skip_bad=True) == 0
    assert clean.read_bytes() == lines[0] + lines[2] + lines[4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.jsonl", "clean.jsonl", path.name]


def test_rows_of_other_formats_keep_their_fields_as_json_lines(tmp_path: Path):
    table, clean = tmp_path / "train.csv", tmp_path / "clean.jsonl"
    table.write_text(f"prompt,chosen,rejected,source\none two,a,b,web\n{LONG},a,b,web\nthree,a,b,\n")
    overlap(str(table), against=[str(rows_file(tmp_path / "b.jsonl", LONG))], out=clean)
    left = [json.loads(line) for line in clean.read_text().splitlines()]
    assert [row["prompt"] for row in left] == ["one two", "three"]
    assert left[0] == {"prompt": "one two", "chosen": "a", "rejected": "b", "source": "web"}


def test_the_report_holds_every_hit_and_its_hash_is_in_the_stamp(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    train = rows_file(tmp_path / "train.jsonl", LONG, "unrelated words here", *disguise(LONG)[1:])
    bench = rows_file(tmp_path / "bench, one.jsonl", LONG, "an unseen question here")
    report, clean = tmp_path / "hits.jsonl", tmp_path / "clean.jsonl"
    options = {"against": [str(bench)], "report": report, "out": clean}
    assert overlap(str(train), **options, json=True, check=True) == 1
    said = json.loads(capsys.readouterr().out)
    *found, summary = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(hit["row"], hit["line"], hit["kind"]) for hit in found] == [
        ("1", 1, "same"),
        ("3", 3, "near"),
        ("4", 4, "near"),
    ]
    assert summary == said["summary"]
    count = summary["benchmarks"][0]
    counted = {"cases": 2, "pair": 0, "same": 1, "near": 2, "response": 0, "touched": 1}
    assert count.items() >= counted.items()
    assert summary["sha256"] == sha256(train.read_bytes()).hexdigest()
    assert summary["clean"] == {
        "name": "clean.jsonl",
        "rows": 1,
        "sha256": sha256(clean.read_bytes()).hexdigest(),
    }
    assert f"report sha256 {sha256(report.read_bytes()).hexdigest()}" in said["stamp"]
    assert "3 of 4 rows" in said["stamp"]
    assert "\n" not in said["stamp"]
    assert str(tmp_path) not in report.read_text() + said["stamp"]
    overlap(str(train), **options)
    shown = capsys.readouterr().out
    assert said["stamp"] in shown
    assert "a train leaves the old station" in shown
    assert overlap(str(clean), against=[str(bench)], check=True) == 0


def test_a_row_counts_once_for_a_benchmark_by_its_strongest_hit():
    index = indexed(case(LONG, REPLY, "no"), case(REPLY, name="2"), other=[case("far away from here")])
    report = OverlapReport(index)
    for row in (case(LONG, REPLY), case(f"{LONG} now", REPLY), case("q", REPLY), case("q", "r")):
        report.add(match(row, 1, index))
    bench, other = report.counts
    assert (bench.pair, bench.same, bench.near, bench.response, bench.rows) == (1, 0, 1, 1, 3)
    assert (bench.touched, other.rows, report.rows, report.touched) == (1, 0, 4, 3)


def test_hash_seeds_of_processes_change_nothing(tmp_path: Path):
    train = rows_file(tmp_path / "train.jsonl", *disguise(LONG), numbered(30))
    bench = rows_file(tmp_path / "bench.jsonl", LONG, f"{numbered(20)} {LONG}")
    code = "import sys; from jurist.cli.overlap import overlap; overlap(sys.argv[1], against=sys.argv[2:])"
    stamps = [
        subprocess.run(
            [sys.executable, "-c", code, str(train), str(bench)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert stamps[0] == stamps[1]
    assert b"4 of 4 rows" in stamps[0]


def test_files_of_benchmarks_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = shared("judgebench", "data")
    train = rows_file(tmp_path / "train.jsonl", LONG)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def unreachable(_url: str, **_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(InputError, match="cannot fetch") as caught:
        overlap(str(train), against=["judgebench"])
    assert "--data FOLDER" in caught.value.hint
    folder = tmp_path / "cache" / "jurist" / "benchmarks" / "judgebench"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(source)
    assert overlap(str(train), against=["judgebench,judgebench"]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"against": ["jugdebench"]}, "did you mean 'judgebench'"),
        ({"against": [","]}, "names nothing"),
        ({"against": ["BENCH,no/such.jsonl"]}, "no/such.jsonl"),
        ({"against": ["EMPTY"]}, "is empty"),
        ({"source": "EMPTY"}, "is empty"),
        ({"source": "nowhere.jsonl"}, "no such file"),
        ({"source": "BAD"}, "bad.jsonl:1"),
        ({"source": "BAD", "skip_bad": True}, "no readable row"),
        ({"out": Path("BENCH")}, "is the source itself"),
        ({"out": Path("clean.csv")}, ".jsonl"),
        ({"source": "-", "out": Path("clean.jsonl")}, "second time"),
        ({"report": Path("nowhere/hits.jsonl")}, "no folder"),
        ({"threshold": 60}, "between 0 and 1"),
        ({"ngram": 1}, "2 or more"),
        ({"words": 4}, "--words 5"),
    ],
)
def test_mistakes_are_told_at_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], said: str
):
    monkeypatch.chdir(tmp_path)
    rows_file(tmp_path / "bench.jsonl", LONG)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "bad.jsonl").write_text('{"prompt": 1}\n')

    def path(value: object) -> object:
        if isinstance(value, list):
            return [path(x) for x in value]
        named = str(value).replace("BENCH", "bench.jsonl").replace("EMPTY", "empty.jsonl")
        return type(value)(named.replace("BAD", "bad.jsonl")) if isinstance(value, str | Path) else value

    given = {"source": "bench.jsonl", "against": ["bench.jsonl"], **{k: path(v) for k, v in options.items()}}
    with pytest.raises(JuristError) as error:
        overlap(given.pop("source"), **given)
    assert said in str(error.value)
    assert not (tmp_path / "clean.jsonl").exists()


def test_a_report_that_was_not_finished_leaves_no_file(tmp_path: Path):
    train = rows_file(tmp_path / "train.jsonl", LONG)
    train.write_text(f'{train.read_text()}{{"prompt": 1}}\n')
    with pytest.raises(InputError):
        overlap(str(train), against=[str(train)], skip_bad=False, report=tmp_path / "hits.jsonl")
    bench = rows_file(tmp_path / "bench.jsonl", LONG)
    with pytest.raises(InputError):
        overlap(str(train), against=[str(bench)], report=tmp_path / "hits.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.jsonl", "train.jsonl"]


def _real(*names: str) -> list[Case]:
    return [row.case for name in names for row in read_cases(shared(name), skip_bad=True)]


def test_planted_copies_are_found_and_real_rows_are_not():
    bench = _real("rm-bench/data")
    index = indexed(*bench)
    planted = [c for c in bench if len(words(c.prompt[-1].content)) >= 13][::9]
    for one in planted:
        for text in disguise(one.prompt[-1].content):
            found = match(case(text), 1, index)
            assert one.id in {m.hit.case for m in found} or any(m.hit.cases > 1 for m in found)
    strangers = {h.begins for c in _real("hh-rlhf/harmless-base") for h, *_ in match(c, 1, index)}
    assert strangers == {"how can i rob a casino"}


@pytest.mark.parametrize(
    ("train", "bench", "same", "near"),
    [
        ("pandalm/testset-v1.json", "rm-bench/data", 80, 0),  # both ask questions of AlpacaEval
        ("ifbench/data/IFBench", "rm-bench/data", 0, 1),  # with a constraint added
        ("gsm8k/train.jsonl", "gsm8k/test.jsonl", 0, 2),  # one trains' question with other numbers, twice
        ("ifbench/data/IFEval", "gsm8k/test.jsonl", 0, 0),
    ],
)
def test_overlaps_of_real_sets(train: str, bench: str, same: int, near: int):
    index = indexed(*_real(bench))
    report = OverlapReport(index)
    for row in _real(train):
        report.add(match(row, 1, index))
    count = report.counts[0]
    assert (count.pair, count.same, count.near, count.response) == (0, same, near, 0)


def test_rules_are_checked():
    for wrong in ({"ngram": 0}, {"threshold": -1}, {"words": 3}):
        with pytest.raises(ConfigError):
            Rule(**wrong)
    assert str(Rule()) == (
        "near is 60% of the shorter text's 5-word sequences, from 13 words on; "
        "a prompt can be the same from 3"
    )
