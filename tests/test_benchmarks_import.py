"""`jurist import` and `export`: official outputs and results in, official results out, on real files."""

import io
import json
import re
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from shared import shared

from jurist.benchmarks.recorded import read_recorded
from jurist.benchmarks.rewardbench import SIZES, score_subsets
from jurist.cli import main as command_line
from jurist.cli.runs import aggregates, export, form, import_run
from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.run_config import read_config
from jurist.core.runs import open_run, read_decisions
from jurist.core.types import Scorecard
from jurist.judging.registry import BENCHMARKS, benchmark

DISTILLED = "rm-r1-results/RM-R1-DeepSeek-Distilled-Qwen-32B"
INSTRUCT = "rm-r1-results/RM-R1-Qwen2.5-Instruct-32B"
SCORES = "reward_bench/score_result"
DOMAINS = {"Factuality": 0.827, "Precise IF": 0.419, "Math": 0.749, "Safety": 0.895, "Focus": 0.862}
TIES = {"Ties": 0.837}


def jurist(*arguments: object, code: int = 0) -> SimpleNamespace:
    """What a command prints, run in this process; its exit code must be ``code``."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        ended = command_line.run([str(argument) for argument in arguments])
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in streams)  # pyright: ignore
    assert ended == code, stderr
    return SimpleNamespace(stdout=stdout, stderr=" ".join(stderr.split()))


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if not file.name.startswith(".")}


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("file", "overall"),
    [
        ("rrm-results/32b_RewardBench_result.json", 91.21),
        ("rrm-results/7b_RewardBench_result.json", 82.19),
        (f"{DISTILLED}/{SCORES}/each_small_section_score.json", 90.85),
        (f"{INSTRUCT}/{SCORES}/each_small_section_score.json", 91.37),
    ],
)
def test_accuracies_by_subset_make_a_scorecard_and_no_decisions(tmp_path: Path, file: str, overall: float):
    run = tmp_path / "deep" / "run"
    done = jurist("import", "rewardbench", shared(file), "--out", run)
    assert f"{overall}%" in done.stdout
    assert "a scorecard only" in done.stderr
    assert files(run) == {"run.json", "scorecard.json"}
    card = json.loads(jurist("score", run, "--json").stdout)
    assert round(100 * card["headline"]["value"], 2) == overall
    assert jurist("import", "rewardbench", shared(file), "--out", run).stdout == done.stdout


def test_domains_of_rewardbench_2_make_a_scorecard(tmp_path: Path):
    file = write(tmp_path / "judge.json", {"model": "a/b", "model_type": "x", **DOMAINS, **TIES})
    done = jurist("import", "rewardbench2", file, "--out", tmp_path / "run", "--json")
    card = msgspec.json.decode(done.stdout, type=Scorecard)
    assert card.headline is not None
    assert round(100 * card.headline.value, 1) == 76.5
    assert files(tmp_path / "run") == {"run.json", "scorecard.json"}


def test_a_run_of_results_cannot_be_read_or_counted_another_way(tmp_path: Path):
    file, run = write(tmp_path / "judge.json", DOMAINS), tmp_path / "run"
    import_run("rewardbench2", str(file), out=run)
    for arguments, words in (
        (("show", run), "results of groups and no decisions"),
        (("score", run, "--benchmark", "llmbar"), "another benchmark's rule"),
        (("import", "rewardbench2", write(tmp_path / "b.json", TIES), "--out", run), "holds another run"),
        (("import", "rewardbench2", file, "--out", file), "cannot make the run folder"),
    ):
        assert words in jurist(*arguments, code=2).stderr
    (run / "scorecard.json").unlink()
    assert "import the results again" in jurist("score", run, code=2).stderr


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("rewardbench", "rrm-results/7b_GPQA_result.json", "7b_GPQA_result.json: results: unknown subset"),
        ("rewardbench", f"{DISTILLED}/{SCORES}/main_score.json", "unknown subset 'Chat'"),
        ("rewardbench2", "rrm-results/32b_RewardBench_result.json", "unknown domain 'alpacaeval-easy'"),
        ("rm-bench", f"{DISTILLED}/RM-Bench/final_result.json", "(chat, math, code, safety and 4 more)"),
        ("rmb", f"{DISTILLED}/RMB/META_RESULT.json", "no scorecard of rmb can be made"),
        (
            "rmb",
            f"{DISTILLED}/RMB/BoN_set_Helpfulness/score_result/Final_score.json",
            "`text_chosen` - at `$[0]`",
        ),
        (
            "llmbar",
            "llmbar/Natural/evaluators/GPT-4/CoT/statistics.json",
            "one result.json, or all five sets",
        ),
        ("llmbar", "llmbar", "say which judge"),
        ("gsm8k", "rrm-results/7b_GPQA_result.json", "gsm8k has no official outputs"),
        ("judgebank", "llmbar", "did you mean 'judgebench'"),
    ],
)
def test_what_cannot_be_imported_is_named_and_leaves_no_folder(
    tmp_path: Path, name: str, file: str, words: str
):
    done = jurist("import", name, shared(file), "--out", tmp_path / "run", code=2)
    assert words in done.stderr
    assert "hint" in done.stderr or "$" in words
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"model": "a/b"}, "no columns"),
        ([{"subset": "shp"}], "missing required field"),
        ([], "no decisions to score"),
        ({"model": "a/b", "math-prm": 95.0}, "shares from 0 to 1"),
    ],
)
def test_other_mistakes_leave_no_folder_either(tmp_path: Path, value: object, words: str):
    with pytest.raises(JuristError, match=words) as error:
        import_run("rewardbench", str(write(tmp_path / "x.json", value)), out=tmp_path / "run")
    assert "x.json" in str(error.value) or not value
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "file", "overall", "n"),
    [
        ("judgebench", "judgebench/outputs/*o1-mini*", 65.71, 350),
        ("judgebench", "judgebench/outputs/*GRM-Gemma*", 59.43, 350),
        ("llmbar", "llmbar#GPT-4/CoT", 80.21, 419),
        ("llmbar", "llmbar#ChatGPT/Rating", 49.51, 419),
        ("rmb", f"{DISTILLED}/RMB", 75.0, 8),
    ],
)
def test_raw_outputs_become_runs_with_their_published_score(
    tmp_path: Path, name: str, file: str, overall: float, n: int
):
    path, mark, judge = file.partition("#")
    place = next(iter(shared(path.split("/")[0]).parent.glob(path)))
    import_run(name, f"{place}{mark}{judge}", out=tmp_path)
    card = msgspec.json.decode((tmp_path / "scorecard.json").read_bytes(), type=Scorecard)
    assert card.headline is not None
    assert round(100 * card.headline.value, 2) == overall
    assert len(list(read_decisions(tmp_path))) == n
    assert "aggregate" not in read_config(tmp_path)


def test_the_help_names_every_benchmark_with_something_to_import():
    text = " ".join(jurist("import", "--help").stdout.replace("│", " ").split())
    listed = text.partition("What they are of: ")[2].partition(".")[0].replace(" or ", ", ")
    forms = {name: form(benchmark(name)) for name in BENCHMARKS}
    assert set(listed.split(", ")) == {name for name in BENCHMARKS if benchmark(name).recorded}
    for name, said in forms.items():
        assert bool(said) == (name in listed.split(", ")), name
        assert not said or text.count(name) >= 2, name
    assert set(aggregates()) <= set(listed.split(", "))


def rows(accuracies: Mapping[str, object]) -> list[dict[str, object]]:
    """Results of single pairs of which those accuracies are the means."""
    return [
        {"results": float(i < round(float(str(accuracies[subset])) * n)), "subset": subset, "id": i}
        for subset, n in SIZES.items()
        for i in range(n)
    ]


def test_an_export_is_the_official_file_and_can_be_imported(tmp_path: Path):
    published = msgspec.json.decode(shared("rrm-results", "32b_RewardBench_result.json").read_bytes())
    run, file = tmp_path / "run", tmp_path / "judge.json"
    import_run("rewardbench", str(write(tmp_path / "rows.json", rows(published))), out=run)
    assert len(list(read_decisions(run))) == 2985
    export(run, format="rewardbench", model="my-lab/my-judge", out=file)
    exported = msgspec.json.decode(file.read_bytes())
    subsets = {name: value for name, value in published.items() if name in SIZES}
    assert exported == {"model": "my-lab/my-judge", "model_type": published["model_type"]} | {
        "chat_template": None,
        **subsets,
    }
    import_run("rewardbench", str(file), out=tmp_path / "again")
    again = msgspec.json.decode((tmp_path / "again" / "scorecard.json").read_bytes(), type=Scorecard)
    assert again.groups == score_subsets(published).groups


def test_a_part_is_exported_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    some = [row for row in rows(dict.fromkeys(SIZES, 1)) if row["subset"] != "donotanswer"][:200]
    import_run("rewardbench", str(write(tmp_path / "rows.json", some)), out=tmp_path / "run")
    export(tmp_path / "run", format="rewardbench", model="a/b", out=tmp_path / "x.json")
    said = " ".join(capsys.readouterr().err.split())
    assert "not the official score: 200 of 2,985 pairs were judged; without any pair: " in said
    assert "donotanswer" in said
    assert "half right" not in said


def test_pairs_without_a_verdict_are_said_to_be_half_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pairs = [{"prompt": "q", "chosen": "a", "rejected": "b", "subset": "math-prm", "id": i} for i in range(3)]
    data = tmp_path / "filtered.json"
    engine = ("--engine", "scripted:nothing", "--protocol", "rubrics")
    command_line.run(
        ["eval", "rewardbench", "--data", str(write(data, pairs)), *engine, "--out", str(tmp_path / "run")]
    )
    export(tmp_path / "run", format="rewardbench", model="a/b", out=tmp_path / "x.json")
    assert "3 pairs without a verdict are half right" in " ".join(capsys.readouterr().err.split())
    assert msgspec.json.decode((tmp_path / "x.json").read_bytes())["math-prm"] == 0.5


def test_what_cannot_be_exported_is_refused(tmp_path: Path):
    aggregate, other, good, prior = (tmp_path / name for name in "abcd")
    import_run("rewardbench", str(write(tmp_path / "s.json", {"math-prm": 0.5})), out=aggregate)
    import_run("rewardbench2", str(write(tmp_path / "d.json", DOMAINS)), out=other)
    row = {"results": 1.0, "subset": "math-prm", "id": 1}
    import_run("rewardbench", str(write(tmp_path / "r.json", [row])), out=good)
    import_run("rewardbench", str(write(tmp_path / "p.json", [{**row, "subset": "shp"}])), out=prior)
    for run, model, words in (
        (aggregate, "a/b", "results of groups and no decisions"),
        (other, "a/b", "a run of 'rewardbench2', not of rewardbench"),
        (good, "judge", "not ORG/NAME"),
        (good, "a/b/c", "not ORG/NAME"),
        (prior, "a/b", "no pair of the 23 subsets"),
    ):
        with pytest.raises(ConfigError, match=words):
            export(run, format="rewardbench", model=model, out=tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_a_run_holds_the_cases_that_stand_beside_the_outputs(tmp_path: Path):
    root = shared("llmbar")
    import_run("llmbar", f"{root}#GPT-4/CoT", out=tmp_path / "all")
    file = root / "Natural" / "evaluators" / "GPT-4" / "CoT" / "result.json"
    import_run("llmbar", str(file), out=tmp_path / "one", data=root)
    for name, n in (("all", 419), ("one", 100)):
        with open_run(tmp_path / name) as run:
            held = [run.case(case_id) for case_id in run.ids()]
            assert len(held) == n
            assert all(case is not None and len(case.responses) == 2 for case in held)


def held(run: Path) -> list[tuple[str, str, str]]:
    """(prompt, first response, second response) of the cases that a run holds, in its order."""
    with open_run(run) as opened:
        cases = [opened.case(name) for name in opened.ids()]
    assert None not in cases
    texts = [(case.prompt[-1].content, *case.responses) for case in cases if case]
    return [tuple(str(text) for text in some) for some in texts]  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("run", [DISTILLED, INSTRUCT])
def test_a_run_holds_the_cases_of_the_logs_of_rmb(tmp_path: Path, run: str):
    jurist("import", "rmb-rm-r1", shared(run), "-o", tmp_path / "run")
    found = held(tmp_path / "run")
    sets = ("BoN_set_Harmlessness", "BoN_set_Helpfulness", "Pairwise_set_Harmlessness")
    logs = [*(f"{name}/log_result/{'raw_' * ('BoN' in name)}logs.json" for name in sets)]
    logs += ["Pairwise_set_Helpfulness/log_result/logs.json"]
    rows = [row for log in logs for row in json.loads(shared(run, "RMB", log).read_bytes())]
    turns = [(row["text_chosen"], row["text_rejected"]) for row in rows]
    assert found == [(a[-2]["content"], a[-1]["content"], b[-1]["content"]) for a, b in turns]
    audited = json.loads(jurist("audit", tmp_path / "run", "--json").stdout)
    assert not [line for line in audited["left_out"] if line.startswith("length")]


def test_a_run_holds_the_cases_of_files_of_rm_bench(tmp_path: Path):
    row = {"id": 1, "domain": "math", "prompt": "q", "chosen": ["a", "b", "c"]}
    flags = {"output": ["[[A]]"] * 3, "Is_Chosen_Answer_Shuffled_toPositionB": [False] * 3}
    logs, pairs = tmp_path / "logs", [("q", c, r) for c in "abc" for r in "xyz"]
    logs.mkdir()
    for turn in range(3):
        rejected = (["x", "y", "z"] * 2)[turn : turn + 3]
        rows = [{**row, **flags, "rejected": rejected, "result": [1, 0, 1]}]
        write(logs / f"total_dataset_{turn + 1}_model.json", rows)
    jurist("import", "rm-bench", logs, "-o", tmp_path / "of-logs")
    assert held(tmp_path / "of-logs") == pairs
    scores = {"rejected": ["x", "y", "z"], "score_chosen": [3, 1, 1], "score_rejected": [2, 2, 1]}
    (tmp_path / "model").mkdir()
    write(tmp_path / "model" / "math_filtered_model.json", [{**row, **scores}])
    jurist("import", "rm-bench", tmp_path / "model", "-o", tmp_path / "of-scores")
    assert held(tmp_path / "of-scores") == pairs


def test_a_run_holds_the_cases_of_logs_of_rewardbench(tmp_path: Path):
    asked = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    asked += [{"role": "user", "content": "s"}]
    ends = ({"role": "assistant", "content": text} for text in "ab")
    fields = {"results": 1.0, "answers": "[[A]]", "Is_Chosen_Answer_Shuffled_toPositionB": False}
    texts = dict(zip(("text_chosen", "text_rejected"), ([*asked, end] for end in ends), strict=True))
    rows = [{"subset": "math-prm", "id": 4, **fields, **texts}]
    jurist("import", "rewardbench", write(tmp_path / "logs.json", rows), "-o", tmp_path / "run")
    assert held(tmp_path / "run") == [("s", "a", "b")]
    # What a chat template made one text is no case, and the run is without.
    rows = [{**rows[0], "text_chosen": "<user>q", "text_rejected": "<user>q"}]
    jurist("import", "rewardbench", write(tmp_path / "logs.json", rows), "-o", tmp_path / "flat")
    with open_run(tmp_path / "flat") as run:
        assert [run.case(name) for name in run.ids()] == [None]


def test_a_run_holds_the_cases_that_lie_beside_outputs(tmp_path: Path):
    pairs = [{"scenario": "others", "label": 0, "prompt": "q", "response 1": "a", "response 2": "b"}]
    critiques = {"scenario": "others", "prompt": "q", "response": "r"}
    for name, lines in (
        ("test/testdata_pairwise.jsonl", pairs),
        ("outputs/pairwise_example_output.jsonl", [{"output": 0}]),
        ("outputs/pairwise_exchange_example_output.jsonl", [{"output": 1}]),
        ("test/testdata_critique.jsonl", [critiques]),
        ("test/reference_chatgpt_critique.jsonl", [{"output": "theirs"}]),
        ("outputs/critique_example_output.jsonl", [{"output": "its own"}]),
        ("outputs/gpt-4-Eval_auto-j_vs_chatgpt.jsonl", [{"output": "A: the first", "meta": {}}]),
        ("outputs/gpt-4-Eval_other_vs_chatgpt.jsonl", [{"output": "A: the first", "meta": {}}]),
    ):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines * 2))
    outputs = tmp_path / "data" / "outputs"
    jurist("import", "autoj", outputs / "pairwise_example_output.jsonl", "-o", tmp_path / "autoj")
    assert held(tmp_path / "autoj") == [("q", "a", "b")] * 2
    file = outputs / "gpt-4-Eval_auto-j_vs_chatgpt.jsonl"
    jurist("import", "autoj-critique", file, "-o", tmp_path / "critique")
    assert [texts[1:] for texts in held(tmp_path / "critique")] == [("its own", "theirs")] * 2
    # Which file holds the critiques of another critic is not known.
    jurist("import", "autoj-critique", outputs / "gpt-4-Eval_other_vs_chatgpt.jsonl", "-o", tmp_path / "not")
    with open_run(tmp_path / "not") as run:
        assert [run.case(name) for name in run.ids()] == [None] * 2


def test_a_run_holds_the_pairs_of_pandalm_beside_its_output(tmp_path: Path):
    source = shared("pandalm", "testset-v1.json")
    (tmp_path / source.name).write_bytes(source.read_bytes())
    pairs = json.loads(source.read_bytes())
    rows = [{"idx": row["idx"], "gpt_result": "1", "gpt_reason": "Because."} for row in pairs]
    jurist("import", "pandalm", write(tmp_path / f"x-{source.name}", rows), "-o", tmp_path / "run")
    assert [texts[1:] for texts in held(tmp_path / "run")] == [
        (str(row["response1"]), str(row["response2"])) for row in pairs
    ]


def test_how_strongly_a_judge_of_judgebench_spoke_is_kept(tmp_path: Path):
    (source,) = shared("judgebench", "outputs").glob("*o1-mini*")
    import_run("judgebench", str(source), out=tmp_path / "run")
    for decision in read_decisions(tmp_path / "run"):
        for judgment in decision.judgments:
            text, note = judgment.completion.text, judgment.verdict.note
            if note:
                assert (note, ">>" in text) == ("much better", True)
            elif len(set(re.findall(r"\[\[[AB](>>|>|=)[AB]\]\]", text))) == 1:
                assert "[[A>>B]]" not in text


def test_a_pair_that_stands_there_twice_counts_twice(tmp_path: Path):
    (source,) = shared("judgebench", "outputs").glob("*o1-mini*")
    first, *rest = source.read_text("utf-8").splitlines(keepends=True)[:40]
    file = tmp_path / source.name
    file.write_text("".join([first, *rest, first]), "utf-8")
    import_run("judgebench", str(file), out=tmp_path / "run")
    decisions = list(read_decisions(tmp_path / "run"))
    assert len({d.case_id for d in decisions}) == 41
    assert decisions[-1].case_id == f"{decisions[0].case_id}#2"
    card = msgspec.json.decode((tmp_path / "run" / "scorecard.json").read_bytes(), type=Scorecard)
    again = benchmark("judgebench").score(decisions)
    assert (card.headline, card.statistics) == (again.headline, again.statistics)
    assert card.headline is not None
    assert card.headline.name == "mean of 41 of 350 pairs"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rewardbench", '{"model": "a/b", "math-prm": NaN}', "math-prm (nan) is no finite number"),
        (
            "rewardbench2",
            '[{"id": 1, "subset": "Math", "scores": [1.0, Infinity]}]',
            "[0].scores[1] (inf) is no",
        ),
        ("judgebench", '{"pair_id": "x", "score": NaN}', "line 1: score (nan) is no finite number"),
    ],
)
def test_numbers_that_are_none_are_named(tmp_path: Path, name: str, text: str, said: str):
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        import_run(name, str(file), out=tmp_path / "run")
    assert said in caught.value.message


def card_of(name: str, file: Path, run: Path) -> Scorecard:
    """The scorecard of an import."""
    import_run(name, str(file), out=run)
    return msgspec.json.decode((run / "scorecard.json").read_bytes(), type=Scorecard)


def test_results_of_the_rewardbench_command(tmp_path: Path):
    accuracies = dict.fromkeys(SIZES, 0.5) | {"math-prm": 1.0}
    model = {"accuracy": 0.57, "num_prompts": 2985, "model": "a/b", "ref_model": None, "chat_template": None}
    card = card_of(
        "rewardbench", write(tmp_path / "b.json", {**model, "extra_results": accuracies}), tmp_path / "run"
    )
    assert card == score_subsets(accuracies)
    other = write(tmp_path / "c.json", {**model, "extra_results": None})
    with pytest.raises(InputError, match="extra_results has no accuracies"):
        import_run("rewardbench", str(other), out=tmp_path / "other")


@pytest.mark.parametrize("name", ["b_outputs.jsonl", "b_all.jsonl"])
def test_outputs_of_the_rewardbench_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    pairs = [
        {"prompt": f"q{i}", "chosen": "a", "rejected": "b", "subset": subset, "id": i}
        for i, subset in enumerate(("math-prm", "hep-go", "math-prm"))
    ]
    data = tmp_path / "filtered.json"
    write(data, pairs)
    monkeypatch.setattr("jurist.benchmarks.rewardbench.place", lambda _: data)
    scores = [(1.0, 0.5), (0.2, 0.2), (-1.0, 2.0)]
    prefix = "scores_" if "outputs" in name else ""
    rows = [{f"{prefix}chosen": a, f"{prefix}rejected": b} for a, b in scores]
    if prefix:
        rows = [{"prompt": f"q{i}", "results": 0, "text_chosen": "a", **row} for i, row in enumerate(rows)]
    folder = tmp_path / "results"
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(lines)
    card = card_of("rewardbench", folder, tmp_path / "run")
    assert {row.name: row.value for row in card.groups if row.name in SIZES} == {
        "math-prm": 0.5,
        "hep-go": 0.0,
    }
    assert [d.verdict.scores for d in read_decisions(tmp_path / "run")] == scores
    export(tmp_path / "run", format="rewardbench", model="a/b", out=tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text())["model_type"] == "Seq. Classifier"
    (folder / name).write_text(lines.replace("q1", "q2") if prefix else lines + lines)
    with pytest.raises(
        InputError, match="line 2: the prompt is not" if prefix else "6 rows, the published set has 3"
    ):
        import_run("rewardbench", str(folder), out=tmp_path / "other")


def test_scores_of_a_scalar_model_on_rm_bench(tmp_path: Path):
    prompts = json.loads(shared("rm-bench", "data", "chat_filtered.json").read_bytes())[:20]
    scored = [{**row, "score_chosen": [3, [1.0], 1], "score_rejected": [[2], 2, 1]} for row in prompts]
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "chat_filtered_model_REWORD_MODEL_20250101_000000.json", scored)
    card = card_of("rm-bench", folder, tmp_path / "run")
    assert card.headline is not None
    assert card.headline.value == pytest.approx(3 / 9)  # a tie is wrong
    assert card.statistics["chat/hard"] == pytest.approx(2 / 3)
    write(folder / "chat_filtered_again.json", scored)
    with pytest.raises(InputError, match="stands there twice"):
        import_run("rm-bench", str(folder), out=tmp_path / "other")


def test_scores_of_a_scalar_model_on_rmb(tmp_path: Path):
    pair = {"category_path": "Pairwise_set/Helpfulness/Chat/x", "pair_uid": "p", "language": "en"}
    rewards = [(2.0, 1.0, 1), (1.0, 1.0, 0), (None, None, 1)]
    rows = [{**pair, "chosen_reward": a, "reject_reward": b, "is_correct": c} for a, b, c in rewards]
    best = {"category_path": "BoN_set/Harmlessness/S1", "chosen_reward": 1.0, "is_correct": 1}
    rows += [{**best, "bon_uid": "i", "reject_reward": x} for x in (0.5, 0.0)]
    rows += [{**best, "bon_uid": "j", "reject_reward": x} for x in (0.5, 1.5)]
    card = card_of("rmb", write(tmp_path / "model_result.json", rows), tmp_path / "run")
    assert {row.name: row.value for row in card.groups} == {
        "pairwise helpfulness": pytest.approx(2 / 3), "bon harmlessness": 0.5,
    }  # fmt: skip


def test_scores_by_case_id_of_any_benchmark(tmp_path: Path):
    data = shared("gsm8k")
    cases = list(benchmark("gsm8k").load(data))
    file = tmp_path / "scores.jsonl"
    rows = [{"id": case.id, "scores": case.gold} for case in cases[:9]] + [
        {"id": cases[9].id, "scores": None}
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    decisions = read_recorded(benchmark("gsm8k"), file, data)
    assert [d.verdict.scores for d in decisions] == [*(case.gold for case in cases[:9]), None]
    card = benchmark("gsm8k").score(decisions)
    assert card.headline is not None
    assert card.headline.name == "mean of 10 of 731 questions"
    for row, said in (
        ({"id": "nowhere", "scores": [1]}, "no case of gsm8k"),
        ({"id": cases[0].id, "scores": [1]}, "4 responses"),
    ):
        file.write_text(json.dumps(row) + "\n")
        with pytest.raises(InputError, match=said):
            read_recorded(benchmark("gsm8k"), file, data)


def test_a_folder_with_several_outputs_is_not_guessed_at(tmp_path: Path):
    with pytest.raises(InputError, match="holds 3 files of results"):
        import_run("judgebench", str(shared("judgebench", "outputs")), out=tmp_path / "run")
    with pytest.raises(InputError, match="no file of results"):
        import_run("rewardbench2", str(tmp_path), out=tmp_path / "run")
