"""The report says what the results say, shows what it was given, and lets nothing out of its quotes."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from actors.trajectory import EndReason, GivenHint
from distill.dataset_card import Sample
from distill.hints.hint import Hint, Writing, hint_of
from distill.ledger import StageCost, StudyCosts
from distill.report import canvas, plots, words
from distill.report.build import build_report
from distill.report.frontier_plot import frontier_plot, frontier_words
from distill.report.inputs import SOURCES_SHOWN_PER_HINT, ReportInputs, choose_example, collect_inputs
from distill.report.page import default_summary
from distill.report.table import table_text
from distill.report.tokens import samples_of, token_view
from distill.results import build_results
from envs.config import ShopConfig, WebshopConfig
from envs.registry import generate, list_tasks, make_panel

ROW = {
    "a": "distill",
    "b": "baseline",
    "metric": "success",
    "delta": 0.1347,
    "ci95": [0.0814, 0.1889],
    "p_value": 0.0002,
    "p_value_holm": 0.0012,
    "n_pairs": 720,
    "verdict": "real",
}
HINT_OF_BASE = Hint(
    text="Open a closed {container} first.", kind="k", env="alfworld", sources=(), writer="diagnostician"
)
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $x$ & \" '"


def attribution(hint_id, *, text="Open it.", num_flips=12, **changes):
    credit = {
        "id": hint_id,
        "text": text,
        "num_flips": num_flips,
        "needed": 0.5,
        "enough": 0.25,
        "shapley": 0.375,
        "shapley_ci95": [0.1, 0.6],
    }
    flips = {"num_flips": 14, "num_unstable": 2, "num_broken": 1, "any_alone": 0.25, "together_only": 0.75}
    return flips | {"hints": [credit]} | changes


class Page(HTMLParser):
    """Tags with their attributes, the text outside scripts, and the scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.scripts, self._open = [], "", [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, text):
        if self._open == "script":
            self.scripts.append(text)
        elif self._open != "style":
            self.text += text


@pytest.fixture
def study(panel_of, arms_of):
    panel = panel_of(60)
    arms = arms_of(panel)
    training = [{"arm": "distill", "rows": 231, "audit": {"leaks": 0}, "masks": {"proven": 231}}]
    return panel, arms, build_results("demo", panel, arms, training=training, versions={"offbook": "0.1.0"})


@pytest.fixture
def inputs(study, a_hint):
    panel, arms, results = study
    lost = [t for t in arms["base"] if not t.success]
    hints = [
        replace(a_hint, sources=tuple(t.id for t in lost[:5]), count=5),
        replace(a_hint, kind="other", count=1),
    ]
    curves = {"distill s0": [{"step": i, "loss": 1 / (i + 1)} for i in range(30)]}
    return collect_inputs(
        results, panel, arms, hints=hints, failures=arms["base"], curves=curves, honesty="A scale model."
    )


def test_a_comparison_in_words():
    assert (
        words.sentence(ROW)
        == "distill - baseline: +13.5 points (95 % 8.1 to 18.9), p < 0.001, 720 pairs: real"
    )
    alike = ROW | {"delta": -0.004, "ci95": [-0.0301, 0.02], "p_value": 0.62, "verdict": "not told apart"}
    assert (
        words.sentence(alike)
        == "distill - baseline: -0.4 points (95 % -3.0 to 2.0), p = 0.62, 720 pairs: not told apart"
    )
    perhaps = ROW | {"p_value": 0.031, "p_value_holm": 0.093, "verdict": "suggestive"}
    assert words.sentence(perhaps).endswith(
        "p = 0.031, 720 pairs: alone yes, not among all comparisons (Holm p = 0.093)"
    )
    tokens = ROW | {"metric": "prompt_tokens", "delta": -1234.4, "ci95": [-1500.2, 0.2]}
    assert "distill - baseline prompt tokens: -1,234 (95 % -1,500 to 0), p" in words.sentence(tokens)


@pytest.mark.parametrize(
    "changes,word,phrase",
    [
        ({}, "Yes", "beats"),
        ({"verdict": "suggestive"}, "Perhaps", "not certain"),
        ({"verdict": "not told apart", "detectable_difference": 0.08}, "Not shown", "about 8 points"),
        ({"delta": -0.1, "ci95": [-0.2, -0.05]}, "No", "worse"),
    ],
)
def test_the_answer_follows_the_comparison(changes, word, phrase):
    assert words.answer({"comparisons": [ROW | changes]})[0] == word
    assert phrase in words.answer({"comparisons": [ROW | changes]})[1]


def test_the_answer_without_students():
    assert words.answer({"comparisons": []})[0] == "Not asked"


def test_terminal_table_fits_eighty_columns_and_holds_every_arm(study):
    results = study[2]
    text = table_text(results, 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in text
    (line,) = [row for row in lines[3:9] if row.startswith("distill ")]
    arm = next(a for a in results["arms"] if a["name"] == "distill")
    assert f"{100 * arm['success_rate']:.1f} ({words.interval(arm['success_ci95'])})" in line
    assert [row.split()[0] for row in lines[3:9]] == [a["name"] for a in results["arms"]]
    (group, *_) = results["tied"]["groups"]
    assert f"best first: a {', '.join(group['arms'])}; b " in " ".join(text.split())
    assert "distill - baseline: " in text and "demo  small/test (60 tasks" in text


def test_terminal_table_takes_names_literally(study):
    results = study[2]
    results["arms"][0]["name"] = "[red]base[/red]"
    results["study"] = "[bold]demo"
    assert "[red]base[/red]" in table_text(results) and "[bold]demo" in table_text(results)


def test_the_report_is_one_file_that_reaches_for_nothing(inputs, tmp_path):
    path = build_report(inputs, tmp_path)
    html = path.read_text()
    page = Page(html)
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {
        "report.html",
        "results.json",
        "table.txt",
        "success.svg",
        "frontier.svg",
        "kinds.svg",
        "loss.svg",
    }
    addresses = [
        v
        for _, attrs in page.tags
        for k, v in attrs.items()
        if k in ("src", "href", "action", "data", "xlink:href")
    ]
    assert addresses and all(address.startswith("#") for address in addresses)
    assert not re.search(r"@import|url\((?!#)", html)
    assert not {"link", "iframe", "object", "embed", "img"} & {tag for tag, _ in page.tags}
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    assert "http://" not in outside and "https://" not in outside


def test_the_page_shows_what_it_was_given(inputs, study, tmp_path):
    results = study[2]
    page = Page(build_report(inputs, tmp_path).read_text())
    for arm in results["arms"]:
        assert f"{100 * arm['success_rate']:.1f}" in page.text
    for phrase in (
        results["panel"]["sha256"],
        "A scale model.",
        inputs.hints[0].text,
        "masks proven",
        "0.1.0",
        "Chosen, not typical",
    ):
        assert phrase in page.text, phrase
    assert words.answer(results)[1] in page.text
    (embedded,) = [s for s in page.scripts if s.startswith("{")]
    assert json.loads(embedded) == results == json.loads((tmp_path / "results.json").read_text())


def test_a_hint_leads_to_the_failed_episodes_it_came_from(inputs, tmp_path):
    page = Page(build_report(inputs, tmp_path).read_text())
    links = [attrs["href"] for tag, attrs in page.tags if attrs.get("class") == "source"]
    targets = {attrs["id"] for tag, attrs in page.tags if attrs.get("class") == "episode"}
    first = inputs.hints[0].sources[:SOURCES_SHOWN_PER_HINT]
    assert links == [f"#ep-{source}" for source in first]
    assert targets == {f"ep-{source}" for source in first}
    assert "and 3 more" in page.text


def test_nothing_that_models_or_data_write_becomes_markup(panel_of, arms_of, tmp_path):
    panel = panel_of(12, goal="put a mug in sink {i} " + EVIL)
    arms = arms_of(panel, {"base": 0.2, "teacher": 0.9, "baseline": 0.5, "distill": 0.9})

    def spoil(t):
        turns = tuple(
            replace(x, reply=EVIL, observation=EVIL, action=x.action and EVIL, fields=((EVIL, EVIL),))
            for x in t.turns
        )
        hints = tuple(GivenHint(id=h.id, text=EVIL) for h in t.hints)
        return replace(t, turns=turns, opening=EVIL, hints=hints, agent=EVIL, model=EVIL)

    arms = {name: [spoil(t) for t in own] for name, own in arms.items()}
    panel = replace(panel, tasks=tuple(replace(t, kind=EVIL) for t in panel.tasks))
    lost = [t for t in arms["base"] if not t.success]
    writings = [
        Writing(source=source, text=EVIL, writer=EVIL, task=EVIL, prompt_sha256=EVIL, uses_oracle=True)
        for source in (lost[0].id, EVIL)
    ]
    hints = [hint_of(writings, EVIL, kind=EVIL, env="alfworld")]
    results = build_results(
        EVIL,
        panel,
        arms,
        training=[{"arm": EVIL, EVIL: EVIL}],
        versions={EVIL: EVIL},
        determinism=EVIL,
        notes=[EVIL],
        costs=StudyCosts(stages={EVIL: StageCost(kind=EVIL, facts={EVIL: EVIL})}, prices={EVIL: EVIL}),
    )
    inputs = collect_inputs(
        results,
        panel,
        arms,
        hints=hints,
        failures=arms["base"],
        curves={EVIL: [{"step": 1, "loss": 1.0}]},
        attributions={EVIL: attribution(hints[0].id, text=EVIL)},
        summary=EVIL,
        honesty=EVIL,
    )
    results["frontier"][0] |= {"arm": EVIL}
    assert inputs.example is not None and inputs.failures
    html = build_report(inputs, tmp_path).read_text()
    page = Page(html)
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert "img" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("script") == 2 and html.count("</script") == 2
    assert page.text.count("alert(1)") > 20  # shown as text, many times
    for svg in (tmp_path / "plots").iterdir():
        assert not [e for e in ElementTree.parse(svg).iter() if e.tag.endswith(("script", "img"))], svg
    assert "script-src 'sha256-" in html


def test_studies_beside_one_another_share_a_page_and_no_anchor(panel_of, arms_of, tmp_path):
    panel = panel_of(30)
    arms = arms_of(panel)
    inputs = []
    for name in ("one", "two"):
        results = build_results(name, panel, arms, training=[], versions={})
        hints = [replace(HINT_OF_BASE, sources=(arms["base"][0].id,))]
        inputs.append(collect_inputs(results, panel, arms, hints=hints, failures=arms["base"]))
    page = Page(build_report(inputs[0], tmp_path, beside=inputs[1:]).read_text())
    # What a plot defines is named by the hash of what it is: the same name is the same marker.
    drawn = re.compile(r"[a-z][0-9a-f]{10}")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs and not drawn.fullmatch(attrs["id"])]
    assert len(set(ids)) == len(ids)
    linked = [attrs["href"][1:] for tag, attrs in page.tags if tag == "a"]
    assert linked and set(linked) <= set(ids)
    parts = [attrs["data-study"] for _, attrs in page.tags if "data-study" in attrs]
    assert parts == ["one", "two"]
    assert [json.loads(script)["study"] for script in page.scripts if script.startswith("{")] == [
        "one",
        "two",
    ]
    assert json.loads((tmp_path / "results.json").read_text())["study"] == "one"


def test_parts_that_are_absent_are_left_out_with_a_line(panel_of, arms_of, tmp_path):
    panel = panel_of(6)
    results = build_results("tiny", panel, {"base": arms_of(panel, {"base": 0.5})["base"]})
    page = Page(build_report(ReportInputs(results=results), tmp_path).read_text())
    for line in (
        "has no hint bank",
        "Nothing was trained",
        "nothing is compared",
        "Not asked",
        "No task of this study",
        "No versions",
    ):
        assert line in page.text, line


def test_arm_of_errors_only_breaks_nothing(panel_of, arms_of, tmp_path):
    panel = panel_of(4)
    base = [replace(t, end="error", error="engine died") for t in arms_of(panel, {"base": 0.5})["base"]]
    results = build_results("tiny", panel, {"base": base})
    assert (
        "12 episodes ended in an error" in build_report(ReportInputs(results=results), tmp_path).read_text()
    )


def test_equal_inputs_give_equal_bytes(inputs, tmp_path):
    build_report(inputs, tmp_path / "a"), build_report(inputs, tmp_path / "b")
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), (
            path.name
        )


def test_the_example_is_a_task_that_the_student_learnt(study):
    panel, arms, _ = study
    example = choose_example(panel, arms)
    assert [example.episodes[n].success for n in ("base", "teacher", "distill")] == [False, True, True]
    assert len({(t.task.key, t.seed) for t in example.episodes.values()}) == 1
    assert example.episodes["teacher"].hints and not example.episodes["distill"].hints
    won = {name: {(t.task.key, t.seed) for t in own if t.success} for name, own in arms.items()}
    learnt, unlearnt = len(won["distill"] - won["base"]), len(won["base"] - won["distill"])
    taught = len((won["distill"] & won["teacher"]) - won["base"])
    assert f"shortest of {taught}" in example.note
    assert f"the student won {learnt} that base lost, and lost {unlearnt} that base won" in example.note


def test_the_example_does_without_a_teacher_and_without_a_fitting_task(study):
    panel, arms, _ = study
    assert set(choose_example(panel, {n: arms[n] for n in ("base", "distill")}).episodes) == {
        "base",
        "distill",
    }
    assert choose_example(panel, {"base": arms["base"]}) is None
    assert (
        choose_example(
            panel, {"base": arms["base"], "distill": [replace(t, success=False) for t in arms["distill"]]}
        )
        is None
    )


def test_plots_are_well_formed_and_take_their_ink_from_the_page(study):
    results = study[2]
    frontier = frontier_plot(results["frontier"])
    for svg in (plots.success_plot(results), frontier, plots.kinds_plot(results)):
        texts = "".join(ElementTree.fromstring(svg).itertext())
        assert "distill" in texts
        assert "var(--ink" in svg and "#010203" not in svg and "DejaVu" not in svg
        assert "prefers-color-scheme" in canvas.standalone(svg)
        ElementTree.fromstring(canvas.standalone(svg))


def test_labels_of_near_points_do_not_touch():
    moved = canvas.spread_labels([50, 51, 50.5, 90], [1, 1, 1, 1], gap=4, reach=1)
    assert sorted(moved) == [50, 54, 58, 90]
    assert canvas.spread_labels([50, 51], [1, 9], gap=4, reach=1) == [50, 51]


def shopping_arms(panel, env, make_trajectory):
    """Real shopping: base and its controls buy without choosing options, the others choose them."""
    from actors.trajectory import Turn
    from envs.registry import open_env

    def play(task, arm, careful):
        shop = open_env(env)
        opening = shop.reset(task, seed=0).observation
        words = task.goal.split(",")[0]
        found = shop.step(f"search[{words}]")
        turns = [
            Turn(
                reply="think: short words.",
                fields=(("thought", "short words."),),
                action=None,
                observation="OK.",
            )
        ]
        turns.append(Turn(reply=f"search[{words}]", action=f"search[{words}]", observation=found.observation))
        product = next(a for a in found.admissible if a.startswith("click[g0"))
        page = shop.step(product)
        turns.append(Turn(reply=product, action=product, observation=page.observation))
        named = [a for a in page.admissible if a[6:-1] in task.goal] if careful else []
        for action in [*named, "click[Buy Now]"]:
            after = shop.step(action)
            turns.append(Turn(reply=action, action=action, observation=after.observation, reward=after.score))
        return make_trajectory(
            task,
            arm=arm,
            opening=opening,
            turns=tuple(turns),
            success=careful,
            score=after.score,
            end=EndReason.DONE,
            hints=(),
            parts=tuple((name, float(value)) for name, value in sorted(after.parts.items())),
        )

    return {
        arm: [play(task, arm, arm in ("teacher", "distill")) for task in panel.tasks]
        for arm in ("base", "teacher", "baseline", "distill")
    }


@pytest.fixture
def shopping_page(tmp_path, trajectory_of):
    env = generate(ShopConfig(products=120, train=8, test=24), WebshopConfig(), tmp_path / "shop")
    panel = make_panel("shop/test", env, list_tasks(env, "test"))
    arms = shopping_arms(panel, env, trajectory_of)
    results = build_results("shop", panel, arms, training=[], versions={})
    build_report(collect_inputs(results, panel, arms), tmp_path / "report")
    return (tmp_path / "report" / "report.html").read_text()


def test_a_shopping_episode_is_readable(shopping_page):
    page = Page(shopping_page)
    assert "<kbd>Buy Now</kbd>" in shopping_page and "<kbd>Back to Search</kbd>" in shopping_page
    assert re.search(r"<kbd>G0\w{8}</kbd>", shopping_page)
    assert "score made of" in page.text and "r_type 1" in page.text
    assert not re.search(r"\[(Features|Description)\]", page.text)


def test_what_stands_in_brackets_is_escaped():
    from distill.report.page import _buttons

    assert _buttons("[<b>x</b>] a < b [y]") == "<kbd>&lt;b&gt;x&lt;/b&gt;</kbd> a &lt; b <kbd>y</kbd>"
    assert _buttons("no [brackets\nhere] and []") == "no [brackets\nhere] and []"


def test_training_rows_are_shown_token_by_token_and_escaped(inputs, tmp_path):
    evil = "<script>alert(1)</script>"
    sample = Sample(
        task_id=f"alfworld/train/{evil}",
        trajectory_id="t7",
        pieces=(
            ("<|im_start|>", False),
            ("user\n", False),
            (evil, False),
            ("go", True),
            ("<|im_end|>", True),
        ),
    )
    view = str(token_view(sample))
    assert "<b>go</b><b>&lt;|im_end|&gt;</b>" in view and "<i>user↵</i><br>" in view
    assert "<script" not in view
    page = build_report(replace(inputs, samples={"distill": (sample,)}), tmp_path).read_text()
    assert "2 of 5 tokens under loss" in page and view in page and evil not in page
    assert "token by token" not in build_report(inputs, tmp_path / "without").read_text()


def test_a_long_row_is_cut_in_the_view_and_the_rest_counted():
    sample = Sample(task_id="t", trajectory_id="t", pieces=(("a", True),) * 5000)
    assert "3,500 more tokens" in token_view(sample)


def test_samples_come_back_as_they_were_written():
    sample = Sample(task_id="t", trajectory_id="i", pieces=(("a", True), ("b", False)))
    assert samples_of(json.loads(json.dumps([asdict(sample)]))) == (sample,)


def test_the_summary_tells_an_imported_bank_from_own_failures(panel_of, arms_of, a_hint):
    panel = panel_of(6)
    arms = arms_of(panel)
    own = build_results("s", panel, arms, resamples=100)
    costs = StudyCosts(stages={"hints": StageCost(kind="hints", facts={"imported hints": 3})})
    imported = build_results("s", panel, arms, resamples=100, costs=costs)
    told = [default_summary(ReportInputs(results=results, hints=(a_hint,))) for results in (own, imported)]
    assert "its failures were turned into 1 short hints, and it played again as a teacher" in told[0]
    assert "was given an imported bank of 1 short hints and played as a teacher" in told[1]


def test_a_hint_shows_its_lineage_and_its_credit(inputs, study, tmp_path):
    lost = [t for t in study[1]["base"] if not t.success][:3]
    told = [Writing(source=t.id, text="Open it first.", writer="w1", task=t.task.key) for t in lost[:2]]
    other = Writing(source=lost[2].id, text="First, open it.", writer="w2", prompt_sha256="ab" * 32)
    hint = hint_of([*told, other], "Open it first.", kind="k", env="alfworld")
    named = replace(inputs, hints=(hint,), attributions={"teacher": attribution(hint.id)})
    text = " ".join(Page(build_report(named, tmp_path).read_text()).text.split())
    assert "3 failures of 1 task, 2 wordings" in text or "3 failures of 2 tasks, 2 wordings" in text
    assert "Open it first. 2 times by w1" in text
    assert "First, open it. 1 times by w2" in text and "asked by prompt abababababab" in text
    assert "0.38 (0.10 to 0.60), 12 flips" in text
    assert (
        "Of the 12 that count, one hint alone wins 25 %" in text
        and "1 more were lost by the machinery" in text
    )
    assert "offbook attribute" not in text


def test_without_attribution_the_page_names_the_command(inputs, tmp_path):
    text = Page(build_report(inputs, tmp_path).read_text()).text
    assert "offbook attribute runs/demo plays" in text and "not asked" in text


def test_credit_from_few_flips_is_greyed(inputs, a_hint, tmp_path):
    def few_lines(num_flips):
        told = {"teacher": attribution(inputs.hints[0].id, num_flips=num_flips)}
        page = Page(build_report(replace(inputs, attributions=told), tmp_path).read_text())
        return [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "few"]

    assert len(few_lines(4)) == 1 and not few_lines(5)


def test_heat_cells_say_their_number_and_grey_ones_say_why(inputs, study, tmp_path):
    panel, arms, results = study
    page = Page(build_report(inputs, tmp_path).read_text())
    cells = [attrs for tag, attrs in page.tags if tag == "td" and attrs.get("class", "").startswith("heat")]
    assert len(cells) == 3 * 6 + 3 * 5 and all("--shade" in attrs["style"] for attrs in cells)
    (base,) = [
        c for c in results["kinds"]["cells"] if c["arm"] == "base" and c["kind"] == panel.tasks[0].kind
    ]
    assert f"{100 * base['success_rate']:.0f} " in page.text and "n 60" in page.text
    few = replace(panel, tasks=panel.tasks[:12], hashes=panel.hashes[:12])
    keys = {task.key for task in few.tasks}
    small = {name: [t for t in own if t.task.key in keys] for name, own in arms.items()}
    page = Page(build_report(ReportInputs(results=build_results("s", few, small)), tmp_path).read_text())
    cells = [attrs for tag, attrs in page.tags if tag == "td" and attrs.get("class", "").startswith("heat")]
    assert {attrs["class"] for attrs in cells} == {"heat few"} and not any(
        "style" in attrs for attrs in cells
    )
    assert "4 tasks only" in page.text and "fewer than 10 tasks: too few to read" in page.text


def test_the_frontier_in_words_names_who_beats_whom():
    point = {"tokens_ci95": [0, 0], "success_ci95": [0, 0]}
    beaten = {
        "arm": "base",
        "n_pairs": 30,
        "success_gain": 0.1,
        "success_gain_ci95": [0.02, 0.18],
        "tokens_saved": 40.0,
        "tokens_saved_ci95": [-5.0, 90.0],
        "certain": False,
    }
    points = [
        point | {"arm": "wide", "tokens": 100.0, "success_rate": 0.4, "dominated_by": beaten},
        point | {"arm": "rich", "tokens": 200.0, "success_rate": 0.9, "dominated_by": None},
        point | {"arm": "base", "tokens": 60.0, "success_rate": 0.5, "dominated_by": None},
    ]
    first, second = frontier_words(points)
    assert first == "On the frontier, from fewest tokens: base, rich."
    assert second.startswith(
        "wide is dominated by base: +10.0 points of success (95 % 2.0 to 18.0) with 40 tokens"
    )
    assert second.endswith("on the means only, an interval holds zero.")
    assert frontier_words(points[:1]) == []


def test_training_curves_of_all_seeds_share_one_legend_line():
    curves = {
        f"{arm} s{seed}": [{"step": i, "loss": 1.0} for i in range(40)]
        for arm in ("baseline", "distill")
        for seed in range(3)
    }
    texts = "".join(ElementTree.fromstring(plots.loss_plot(curves)).itertext())
    assert texts.count("distill (3 seeds)") == 1 and texts.count("baseline (3 seeds)") == 1


def test_the_mean_curve_stops_where_the_first_seed_does():
    runs = [{0: 1.0, 1: 0.5, 2: 0.1}, {0: 3.0, 1: 1.5}]
    assert plots._mean_curve(runs) == ([0, 1], [2.0, 1.0])


def test_the_training_table_leaves_hashes_to_the_files(panel_of, arms_of, tmp_path):
    panel = panel_of(6)
    card = {
        "rows": 12345,
        "sha256": {"rows.parquet": "ab" * 32},
        "seal": "cd" * 32,
        "sources": [{"name": "x"}],
    }
    training = [{"arm": "distill", "seed": 0, "dataset": card}]
    results = build_results("s", panel, arms_of(panel), training=training, resamples=100)
    build_report(ReportInputs(results=results), tmp_path)
    page = (tmp_path / "report.html").read_text()
    shown = page[page.index('id="training"') : page.index('id="setup"')]
    assert "12,345" in shown and "ab" * 32 not in shown and "cd" * 32 not in shown
    assert "cd" * 32 in (tmp_path / "results.json").read_text()
