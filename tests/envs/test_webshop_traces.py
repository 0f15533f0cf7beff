"""The 1,000-product setting, rebuilt and compared with what the original recorded."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from distill import cli
from envs.base import EnvError
from envs.webshop.build import build_from_files, verify
from envs.webshop.catalogue import Catalogue, open_catalogue
from envs.webshop.goals import Goal
from envs.webshop.nouns import RecordedTagger, rule_nouns
from envs.webshop.traces import check_traces


@pytest.fixture(scope="module")
def real(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "catalogue"
    build_from_files(test_data / "webshop", folder)
    return folder


@pytest.fixture(scope="module")
def traces(test_data: Path) -> Path:
    return test_data / "webshop" / "traces"


def _read(path: Path) -> Any:
    if path.exists():
        return json.loads(path.read_text())
    return json.loads(lzma.decompress(path.with_name(path.name + ".xz").read_bytes()))


def test_every_recorded_episode_search_and_document_is_the_same(real, traces, capsys):
    assert cli.main(["data", "check-traces", str(traces), "--catalogue", str(real), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and report["mismatched"] == 0 and report["first_difference"] is None
    assert report["episodes"] == 155 and report["searches"] == 287 and report["documents"] == 1000
    assert report["matched"] == 3531


@pytest.mark.parametrize("kind, name, number", [("synthetic", "synth", 6910), ("human", "human", 13)])
def test_goals_caps_and_prices_are_those_of_the_original_under_the_same_seed(
    real, traces, kind, name, number
):
    goals = open_catalogue(real).goals(kind)
    prices = _read(traces / f"product_prices_{name}.json")
    recorded = _read(traces / f"goals_{name}.json")
    assert len(goals) == len(recorded) == number
    for place, goal in enumerate(recorded):
        assert goals[place] == Goal.from_original(goal, prices[goal["asin"]]), place
    assert len(set(goals.ids)) == number
    shop = open_catalogue(real)
    assert {shop.card(n)[0]: shop.price(n) for n in range(shop.num_products)} == prices


def test_splits_follow_the_servers_order(real):
    goals = open_catalogue(real).goals("synthetic")
    assert [goals.split(place) for place in (0, 499, 500, 1499, 1500)] == [
        "test",
        "test",
        "dev",
        "dev",
        "train",
    ]


@pytest.fixture
def episode(traces: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    with lzma.open(traces / "synth_oracle.jsonl.xz", "rt") as lines:
        return tmp_path / "synth_oracle.jsonl", json.loads(next(lines))


@pytest.mark.parametrize(
    "field, value",
    [
        ("obs_text", "else"), ("obs_text_rich", "else"), ("url", "else"), ("reward", 0.5), ("done", False),
        ("available", {"has_search_bar": True, "clickables": []}), ("reward_info", {"r_type": 0.5}), ("session", {"asins": []}),
    ],
)  # fmt: skip
def test_each_recorded_field_counts(real, episode, capsys, field, value):
    path, record = episode
    record["steps"][-1][field] = value
    path.write_text(json.dumps(record) + "\n")
    assert cli.main(["data", "check-traces", str(path), "--catalogue", str(real)]) == 1
    shown = capsys.readouterr().out
    steps = len(record["steps"])
    assert f"{steps - 1} matched, 1 mismatched, in 1 episodes" in shown
    assert (
        f"first difference: synth_oracle.jsonl:1: goal {record['goal_idx']} step {steps - 1} (" in shown
        and field in shown
    )


def test_recorded_prices_take_the_catalogues_place(real, episode):
    path, record = episode
    path.write_text(json.dumps(record) + "\n")
    assert check_traces(path, real).ok
    (path.parent / "product_prices_synth.json").write_text(json.dumps({record["goal"]["asin"]: 1e6}))
    report = check_traces(path, real)
    assert report.mismatched == 1 and "0.9090909090909091" in str(report.first_difference)


def test_bad_traces_and_places_are_bad_input(real, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text("{")
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n')
    for traces, folder in (
        (tmp_path / "a.jsonl", real),
        (tmp_path / "b.jsonl", real),
        (tmp_path / "none", real),
        (tmp_path, tmp_path),
    ):
        assert cli.main(["data", "check-traces", str(traces), "--catalogue", str(folder)]) == 2
        assert capsys.readouterr().err.startswith("offbook: ")


def test_the_same_files_give_the_same_catalogue_and_another_seed_another(test_data, tmp_path):
    from envs.webshop.build import BuildOptions

    hashes = [
        build_from_files(test_data / "webshop", tmp_path / name, BuildOptions(limit=120, seed=seed))["sha256"]
        for name, seed in (("a", 1), ("a", 1), ("b", 1), ("c", 2))
    ]
    assert len(set(hashes[:3])) == 1 and hashes[3] != hashes[0]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}


def test_damage_is_refused_named_and_mended_by_building_again(test_data, tmp_path, capsys):
    from envs.webshop.build import BuildOptions

    folder = tmp_path / "shop"
    few = BuildOptions(limit=30)
    build_from_files(test_data / "webshop", folder, few)
    whole = (folder / "products.bin").read_bytes()
    (folder / "products.bin").write_bytes(b"x" + whole[1:])
    assert verify(folder) == ["products.bin"]
    assert cli.main(["data", "verify", "webshop", str(folder)]) == 1
    assert "changed: products.bin" in capsys.readouterr().out
    (folder / "products.bin").write_bytes(whole[:-1])
    with pytest.raises(EnvError, match=r"products.bin has \d+ bytes instead of"):
        Catalogue(folder)
    (folder / "prices.npy").unlink()
    with pytest.raises(EnvError, match=r"lacks prices.npy|products.bin has"):
        Catalogue(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(EnvError, match="no WebShop catalogue"):
        Catalogue(folder)
    build_from_files(test_data / "webshop", folder, few)
    assert cli.main(["data", "verify", "webshop", str(folder)]) == 0
    assert Catalogue(folder).num_products == 30


def test_nothing_else_is_overwritten(test_data, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(EnvError, match="already holds something else"):
        build_from_files(test_data / "webshop", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_source_leaves_nothing_behind(test_data, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("items_shuffle_1000.json", "items_ins_v2_1000.json"):
        (source / name).write_bytes((test_data / "webshop" / name).read_bytes())
    cut = (source / "items_shuffle_1000.json").read_bytes()[:500_000]
    (source / "items_shuffle_1000.json").write_bytes(cut)
    with pytest.raises(EnvError, match=r"items_shuffle_1000\.json is damaged"):
        build_from_files(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_recorded_nouns_differ_from_the_rule_and_are_used(real):
    shop = open_catalogue(real)
    titles = [shop.card(n)[1] for n in range(200)]
    recorded = list(RecordedTagger().nouns(titles))
    assert [shop.nouns(n) for n in range(200)] == recorded
    differing = sum(nouns != rule_nouns(title) for nouns, title in zip(recorded, titles, strict=True))
    assert 20 < differing < 200
    assert list(RecordedTagger().nouns(["A Title that nobody recorded"])) == [["title", "nobody", "recorded"]]
