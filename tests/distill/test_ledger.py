"""The ledger adds up to the records, counts every environment alike, and prices nothing that nobody priced."""

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from actors.trajectory import EndReason
from distill.atomic import write_atomically
from distill.config import StudyConfig
from distill.hints.bank import Bank
from distill.hints.hint import Hint, Writing
from distill.hints.writer import SUMMARY
from distill.ledger import ArmCost, StageCost, StudyCosts, break_even
from distill.prices import SHIPPED, PricesConfig, TokenPrice, shipped_prices
from distill.report import words
from distill.report.table import table_text
from distill.results import build_results
from distill.stages import StageStore
from distill.study import plan_stages
from distill.study_costs import study_costs

PRICE = {
    "usd_per_million_prompt_tokens": 2.0,
    "usd_per_million_cached_tokens": 0.5,
    "usd_per_million_completion_tokens": 8.0,
    "date": "2026-11-01",
    "source": "a made-up price list of this test",
}


def ledger_of(panel, arms, costs=StudyCosts()):
    return build_results("demo", panel, arms, costs=costs, resamples=200)["ledger"]


def row_of(ledger, name):
    (row,) = [row for row in ledger["arms"] if row["name"] == name]
    return row


def in_env(panel, arms, env):
    """The same episodes as another environment's."""
    panel = replace(panel, tasks=tuple(replace(task, env=env) for task in panel.tasks))
    return panel, {
        name: [replace(t, task=replace(t.task, env=env)) for t in episodes] for name, episodes in arms.items()
    }


def test_every_kind_of_token_adds_up_to_the_records(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, {"base": 0.4, "teacher": 0.6})
    stages = {"hints": StageCost(kind="hints", prompt_tokens=900, completion_tokens=60)}
    costs = StudyCosts(
        stages=stages,
        arms={
            "teacher": ArmCost(
                before=("hints",), retrieval_prompt_tokens=1200, retrieval_completion_tokens=240
            )
        },
    )
    ledger = ledger_of(panel, arms, costs)
    for name in arms:
        own, row = arms[name], row_of(ledger, name)
        wins, steps = sum(t.success for t in own), sum(t.num_steps for t in own)
        prompt, cached = sum(t.prompt_tokens for t in own), sum(t.cached_tokens for t in own)
        written = sum(t.completion_tokens for t in own)
        expected = {"prompt": prompt, "cached": cached, "new": prompt - cached, "completion": written}
        expected |= (
            {"retrieval": 1440, "hint_writing": 960}
            if name == "teacher"
            else {"retrieval": 0, "hint_writing": 0}
        )
        for kind, total in expected.items():
            found = row["tokens"][kind]
            assert found["total"] == total
            assert found["per_episode"] == pytest.approx(total / 120)
            assert found["per_step"] == pytest.approx(total / steps)
            assert found["per_success"] == pytest.approx(total / wins)
        retrieved = expected["retrieval"]
        views = row["views"]
        assert views["processed"]["per_success"] == pytest.approx((prompt + written + retrieved) / wins)
        assert views["computed"]["per_episode"] == pytest.approx(
            (prompt - cached + written + retrieved) / 120
        )
        assert views["paper"]["per_episode"] == pytest.approx(
            (prompt + written) / 120
        )  # ALFWorld: without retrieval
        low, high = views["processed"]["per_success_ci95"]
        assert low < views["processed"]["per_success"] < high


def test_episodes_that_the_machinery_lost_are_paid_for_and_in_no_rate(panel_of, arms_of):
    panel = panel_of()
    base = arms_of(panel, {"base": 0.4})["base"]
    lost = [
        replace(t, end=EndReason.ERROR, success=False, error="x") if i < 6 else t for i, t in enumerate(base)
    ]
    row = row_of(ledger_of(panel, {"base": lost}), "base")
    assert (row["episodes"], row["lost_episodes"]) == (114, 6)
    assert row["tokens"]["prompt"]["total"] == sum(t.prompt_tokens for t in base)
    assert row["tokens"]["prompt"]["per_episode"] == pytest.approx(
        sum(t.prompt_tokens for t in lost[6:]) / 114
    )


def test_an_arm_without_a_success_has_no_cost_of_one(panel_of, arms_of):
    panel = panel_of(5)
    results = build_results("demo", panel, arms_of(panel, {"base": 1e-9}), resamples=200)
    row = row_of(results["ledger"], "base")
    assert row["views"]["computed"]["per_success"] is None and row["tokens"]["new"]["per_success"] is None
    assert "Tokens computed" not in table_text(results)
    json.dumps(results, allow_nan=False)


def test_paper_mistake_6_tokens_are_counted_alike_in_every_environment(panel_of, arms_of):
    """The paper's WebShop figures hold the re-ranker's tokens, its ALFWorld figures do not."""
    panel = panel_of()
    arms = arms_of(panel, {"base": 0.4, "teacher": 0.6})
    costs = StudyCosts(
        arms={"teacher": ArmCost(retrieval_prompt_tokens=120 * 3000, retrieval_completion_tokens=120 * 500)}
    )
    household = ledger_of(panel, arms, costs)
    shop = ledger_of(*in_env(panel, arms, "webshop"), costs)
    for name in arms:
        one, other = row_of(household, name), row_of(shop, name)
        assert one["tokens"] == other["tokens"]
        for view in ("processed", "computed"):
            assert one["views"][view] == other["views"][view]
    published = [row_of(ledger, "teacher")["views"]["paper"]["per_episode"] for ledger in (household, shop)]
    assert published[1] - published[0] == pytest.approx(3500)
    assert row_of(household, "base")["views"]["paper"] == row_of(shop, "base")["views"]["paper"]


def test_paper_mistake_6_a_saving_that_is_the_rerankers_own_is_seen(panel_of, trajectory_of):
    """WebShop, 14B: 9.31k tokens with hints against 3.51k without, about 4.4k of which chose the hints; base 5.51k."""
    panel = panel_of(30)

    def play(arm, tokens):
        episodes = [trajectory_of(task, arm=arm) for task in panel.tasks]
        return [
            replace(
                t, turns=(replace(t.turns[-1], prompt_tokens=tokens, cached_tokens=0, completion_tokens=0),)
            )
            for t in episodes
        ]

    arms = {
        "base": play("base", 5510),
        "teacher": play("teacher", 9310 - 4400),
        "distill": play("distill", 3510),
    }
    costs = StudyCosts(arms={"teacher": ArmCost(retrieval_prompt_tokens=30 * 4400)})
    ledger = ledger_of(*in_env(panel, arms, "webshop"), costs)
    counted = {name: row_of(ledger, name)["views"]["paper"]["per_episode"] for name in arms}
    assert 1 - counted["distill"] / counted["teacher"] > 0.6  # the claim
    teacher = row_of(ledger, "teacher")["tokens"]
    assert teacher["retrieval"]["per_episode"] == pytest.approx(4400)
    played = teacher["prompt"]["per_episode"] + teacher["completion"]["per_episode"]
    assert played == pytest.approx(4910) and played < counted["base"]


def paper_study(panel, trajectory_of, both, a_only, b_only):
    """One greedy run of 134 tasks in which two arms won so many together and alone."""
    wins_a = [True] * (both + a_only) + [False] * (134 - both - a_only)
    wins_b = [True] * both + [False] * a_only + [True] * b_only + [False] * (134 - both - a_only - b_only)
    return {
        arm: [trajectory_of(task, arm=arm, success=won) for task, won in zip(panel.tasks, wins, strict=True)]
        for arm, wins in (("distill", wins_a), ("baseline", wins_b))
    }


@pytest.mark.parametrize(
    "both,a_only,b_only,real",
    [
        (110, 10, 3, False),  # StateAct 14B, 89.55 against 84.33 with little disagreement
        (103, 17, 10, False),  # the same rates with more
        (100, 24, 4, True),  # ReAct 14B, 92.54 against the base's 77.61
    ],
)
def test_paper_mistake_8_a_single_run_is_reported_with_its_interval_and_its_test(
    panel_of, trajectory_of, both, a_only, b_only, real
):
    panel = panel_of(134)
    results = build_results(
        "paper",
        panel,
        paper_study(panel, trajectory_of, both, a_only, b_only),
        comparisons=[("distill", "baseline")],
    )
    row = results["comparisons"][0]
    assert row["test"] == "mcnemar_exact" and (row["verdict"] == "real") is real
    assert all(
        arm["success_ci95"][0] < arm["success_rate"] < arm["success_ci95"][1] for arm in results["arms"]
    )
    assert (results["arms"][0]["tied"] == results["arms"][1]["tied"]) is not real
    assert any(note.startswith("one seed: ") for note in results["notes"])
    assert "(95 % " in table_text(results)


def test_a_price_of_tokens_prices_every_episode_by_its_own(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, {"base": 0.4})
    costs = StudyCosts(arms={"base": ArmCost(usd_per_token=(2e-6, 0.5e-6, 8e-6))})
    usd = row_of(ledger_of(panel, arms, costs), "base")["usd"]
    paid = [
        (t.prompt_tokens - t.cached_tokens) * 2e-6 + t.cached_tokens * 0.5e-6 + t.completion_tokens * 8e-6
        for t in arms["base"]
    ]
    assert usd["total"] == pytest.approx(sum(paid))
    assert usd["per_success"] == pytest.approx(sum(paid) / sum(t.success for t in arms["base"]))
    assert usd["per_success_ci95"][0] < usd["per_success"] < usd["per_success_ci95"][1]


def test_gpu_hours_are_spread_by_the_tokens_computed_and_no_price_is_no_sum(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, {"base": 0.4, "teacher": 0.6})
    ledger = ledger_of(panel, arms, StudyCosts(arms={"base": ArmCost(usd=3.0)}))
    base = row_of(ledger, "base")["usd"]
    assert base["total"] == pytest.approx(3.0)
    assert base["per_success"] == pytest.approx(3.0 / sum(t.success for t in arms["base"]))
    assert row_of(ledger, "teacher")["usd"] is None


def test_a_student_pays_for_itself_when_the_teachers_overhead_has_added_up(panel_of, trajectory_of):
    panel = panel_of(20)

    def play(arm, tokens):
        return [
            replace(
                t,
                turns=(replace(t.turns[-1], prompt_tokens=tokens, cached_tokens=100, completion_tokens=20),),
            )
            for t in (trajectory_of(task, arm=arm, success=True) for task in panel.tasks)
        ]

    stages = {
        "train-base": StageCost(
            kind="rollout", prompt_tokens=4000, cached_tokens=1000, completion_tokens=200
        ),
        "hints": StageCost(kind="hints", prompt_tokens=700, completion_tokens=100),
        "train-teacher": StageCost(
            kind="rollout", prompt_tokens=8000, cached_tokens=5000, completion_tokens=300
        ),
        "fit-distill-s0": StageCost(kind="fit", training_tokens=10_000),
    }
    costs = StudyCosts(
        stages=stages,
        arms={
            "teacher": ArmCost(before=("train-base", "hints"), retrieval_prompt_tokens=20 * 50),
            "distill": ArmCost(before=tuple(stages)),
        },
    )
    arms = {"teacher": play("teacher", 900), "distill": play("distill", 450)}
    (row,) = ledger_of(panel, arms, costs)["students"]
    processed, computed = row["processed"], row["computed"]
    assert processed["one_off"] == {
        "train-base": 4200,
        "hints": 800,
        "train-teacher": 8300,
        "fit-distill-s0": 10_000,
    }
    assert processed["saved_per_episode"] == 500 and processed["break_even_episodes"] == pytest.approx(
        23_300 / 500
    )
    assert processed["break_even_episodes_beyond_teacher"] == pytest.approx(18_300 / 500)
    assert computed["one_off_total"] == 17_300 and computed["saved_per_episode"] == 500
    assert "23,300 that distill took before it played are saved after 47 episodes" in words.payback(
        row, "processed"
    )
    (row,) = ledger_of(panel, arms | {"distill": play("distill", 1000)}, costs)["students"]
    assert row["processed"]["break_even_episodes"] is None
    assert "50 an episode more than teacher" in words.payback(row, "processed")
    assert words.payback(row, "processed").endswith("are never saved.")


def test_the_interval_of_a_break_even_is_open_where_the_saving_may_be_none():
    assert break_even(1000, 10, (5, 20)) == (100, [50, 200])
    assert break_even(1000, 10, (-5, 20)) == (100, [50, None])
    assert break_even(1000, -3, (-5, -1)) == (None, [None, None])


def test_offbook_ships_no_price_and_takes_none_without_date_and_source(tmp_path):
    assert shipped_prices() == {}
    assert PricesConfig().token_price("anything") is None
    broken = tmp_path / "prices.toml"
    broken.write_text(
        '[models."x"]\nusd_per_million_prompt_tokens = 1\nusd_per_million_completion_tokens = 2\n'
    )
    with pytest.raises(ValueError, match=r"prices\.toml holds a price that is not whole"):
        shipped_prices(broken)
    with pytest.raises(ValidationError, match="has no gpu_hour_date or no gpu_hour_source"):
        PricesConfig(usd_per_gpu_hour=2.0)
    with pytest.raises(ValidationError, match="String should match pattern"):
        TokenPrice.model_validate(PRICE | {"date": "last week"})
    filled = tmp_path / "filled.toml"
    filled.write_text(
        SHIPPED.read_text()
        + '[models."x"]\nusd_per_million_prompt_tokens = 1\nusd_per_million_completion_tokens = 2\n'
        + 'date = "2026-11-01"\nsource = "this test"\n'
    )
    assert shipped_prices(filled)["x"].usd(prompt=2e6, cached=1e6, completion=1e6) == 4.0


def test_cached_tokens_have_a_price_of_their_own():
    price = TokenPrice.model_validate(PRICE)
    assert price.usd(prompt=3e6, cached=1e6, completion=1e6) == pytest.approx(2 * 2.0 + 0.5 + 8.0)


def finish(store, plan, *, extra=None):
    """Every stage of a plan as if it had run: manifests only, which is all that costs are read from."""
    for number, stage in enumerate(plan.stages, start=1):
        counts = {
            "rollout": {
                "episodes": 10,
                "prompt_tokens": 1000 * number,
                "cached_tokens": 100,
                "completion_tokens": 10,
            }
            | (extra or {}),
            "hints": {"failures": 4, "hints": 9, "distinct hints": 5},
            "dataset": {"rows": 5, "tokens": 50, "loss_tokens": 5},
            "fit": {"steps": 3, "tokens": 5000, "loss": 0.5},
        }.get(stage.kind, {})
        store.folder(stage).mkdir(parents=True, exist_ok=True)
        if stage.kind == "hints":
            summary = {"prompt_tokens": 700, "completion_tokens": 80, "usd": 0.0}
            write_atomically(store.folder(stage) / SUMMARY, json.dumps(summary))
        store.finish(stage, counts, 36.0)


@pytest.fixture
def planned(tmp_path):
    def plan(**changes):
        settings = {
            "name": "s",
            "seeds": [0, 1],
            "env": {"name": "scripted", "num_tasks": 100},
            "tasks": {"train": 20, "test": 10},
            "agent": {"prompt": "brief"},
            "model": {"kind": "scripted"},
            "writer": {"kind": "diagnostician"},
        }
        config = StudyConfig.model_validate(settings | changes)
        stages, store = plan_stages(config), StageStore(tmp_path / "store")
        return config, stages, store

    return plan


def test_an_arm_rests_on_the_stages_before_it_and_on_no_others(planned):
    config, plan, store = planned()
    finish(store, plan)
    costs = study_costs(config, plan, store)
    rests = {name: set(cost.before) for name, cost in costs.arms.items()}
    assert rests["base"] == set()
    assert rests["teacher"] == {"train-base", "hints"}
    assert rests["baseline"] == {"train-base", "fit-baseline-s0"}
    assert rests["distill"] == {"train-base", "hints", "train-teacher", "fit-distill-s0"}
    assert rests["best_of_2"] == {"train-base", "train-reroll", "fit-best_of_2-s0"}
    assert costs.stages["hints"].tokens("processed") == 780 and costs.stages["hints"].usd == 0.0
    assert costs.stages["fit-distill-s0"].training_tokens == 5000
    assert costs.stages["train-base"].usd is None and costs.prices == {}


def test_retrieval_that_a_stage_counted_stands_apart(planned):
    config, plan, store = planned()
    finish(store, plan, extra={"retrieval_prompt_tokens": 30, "retrieval_completion_tokens": 3})
    costs = study_costs(config, plan, store)
    assert (
        costs.arms["teacher"].retrieval_prompt_tokens,
        costs.arms["teacher"].retrieval_completion_tokens,
    ) == (60, 6)
    assert costs.stages["train-base"].completion_tokens == 13


def test_gpu_hours_price_engines_and_training(planned):
    gpu = {"usd_per_gpu_hour": 2.0, "gpu_hour_date": "2026-11-01", "gpu_hour_source": "this test"}
    model = {"kind": "vllm", "model": "pocket", "device": "cuda", "replicas": 2}
    config, plan, store = planned(model=model, prices=gpu, train={"use_gpu": True, "num_workers": 4})
    finish(store, plan)
    costs = study_costs(config, plan, store)
    assert costs.arms["base"].usd == pytest.approx(2 * 2 * 2.0 * 36 / 3600)  # two seeds, two engines
    assert costs.stages["fit-distill-s0"].usd == pytest.approx(4 * 2.0 * 36 / 3600)
    assert costs.prices == gpu
    free = study_costs(config.model_copy(update={"prices": PricesConfig()}), plan, store)
    assert free.arms["base"].usd is None and free.stages["fit-distill-s0"].usd is None


def test_an_endpoints_tokens_are_priced_by_the_studys_own_table(planned):
    model = {"kind": "openai", "model": "some-model"}
    writer = {"kind": "openai", "model": "some-writer"}
    prices = {"models": {"some-model": PRICE, "some-writer": PRICE}}
    config, plan, store = planned(model=model, writer=writer, prices=prices, arms=["base", "teacher"])
    finish(store, plan)
    costs = study_costs(config, plan, store)
    assert costs.arms["teacher"].usd_per_token == pytest.approx((2e-6, 0.5e-6, 8e-6))
    assert costs.stages["hints"].usd == pytest.approx((700 * 2 + 80 * 8) / 1e6)
    assert costs.stages["train-base"].usd > 0 and set(costs.prices) == {"some-model", "some-writer"}
    unpriced = study_costs(config.model_copy(update={"prices": PricesConfig()}), plan, store)
    assert unpriced.stages["hints"].usd is None and unpriced.arms["teacher"].usd_per_token is None


def test_prices_decide_no_stage(planned):
    _, plan, _ = planned()
    _, priced, _ = planned(prices={"models": {"m": PRICE}})
    assert [stage.key for stage in plan.stages] == [stage.key for stage in priced.stages]


def test_an_imported_bank_costs_what_its_lineage_says(planned, tmp_path, panel_of, trajectory_of):
    def writing(source, text):
        return Writing(
            source=source,
            text=text,
            writer="w",
            prompt_sha256="p",
            prompt_tokens=100,
            completion_tokens=10,
            usd=0.5,
        )

    pairs = [("f1", "Look."), ("f1", "Go."), ("f2", "Look.")]
    hints = [
        Hint(
            text=text,
            kind="k",
            env="scripted",
            writer="w",
            count=sum(t == text for _, t in pairs),
            sources=tuple(s for s, t in pairs if t == text),
            lineage=tuple(writing(s, t) for s, t in pairs if t == text),
        )
        for text in ("Look.", "Go.")
    ]
    Bank(hints=tuple(hints)).save(tmp_path / "bank.parquet")
    config, plan, store = planned(bank={"file": str(tmp_path / "bank.parquet")})
    finish(store, plan)
    Bank(hints=tuple(hints)).save(store.folder(plan.hints) / "bank.parquet")
    cost = study_costs(config, plan, store).stages["hints"]
    assert (cost.prompt_tokens, cost.completion_tokens, cost.usd) == (200, 20, 1.0)
