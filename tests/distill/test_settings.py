"""Loading settings: layers, overrides, and messages that name the key, the file and the nearest known key."""

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from distill.settings import (
    SettingsError,
    config_hash,
    load_settings,
    parse_override,
    to_toml,
    write_settings,
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Engine(_Frozen):
    kind: Literal["engine"] = "engine"
    model: str
    replicas: int = Field(default=1, ge=1)


class Endpoint(_Frozen):
    kind: Literal["endpoint"] = "endpoint"
    model: str
    base_url: str | None = None


Model = Annotated[Engine | Endpoint, Field(discriminator="kind")]


class Train(_Frozen):
    lr: float = 1e-4
    epochs: int = 1
    precision: Literal["bf16", "fp32"] = "bf16"

    @field_validator("epochs")
    @classmethod
    def epochs_are_not_thirteen(cls, value: int) -> int:
        if value == 13:
            raise ValueError("thirteen epochs bring bad luck; take 12")
        return value


class Arm(_Frozen):
    name: str
    models: tuple[Model, ...] = ()


class Study(_Frozen):
    study: str
    model: Model
    train: Train = Train()
    arms: tuple[Arm, ...] = ()
    seeds: tuple[int, ...] = (0,)
    limits: dict[str, Train] = {}
    judges: dict[str, Model] = {}
    note: str | None = None


STUDY = """
study = "small"
[model]
kind = "engine"
model = "pocket"
replicas = 2
[train]
lr = 3e-4
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def message(path: Path, *overrides: str, model_class: type[BaseModel] = Study) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, overrides, model_class)
    return str(caught.value)


def test_file_becomes_the_model(study: Path):
    assert load_settings(study, [], Study) == Study(
        study="small", model=Engine(model="pocket", replicas=2), train=Train(lr=3e-4)
    )


def test_overrides_are_toml_values_with_text_as_the_fallback(study: Path):
    loaded = load_settings(
        study, ["train.lr=1e-3", "seeds=[1, 2]", "study=a b", 'model.model="x=y"', "train.epochs=4"], Study
    )
    assert (loaded.train.lr, loaded.seeds, loaded.study, loaded.model.model, loaded.train.epochs) == (
        1e-3,
        (1, 2),
        "a b",
        "x=y",
        4,
    )


@pytest.mark.parametrize("typed", ["2024", "1e-3", "true", "2024-01-01", "007"])
def test_override_of_a_text_keeps_what_was_typed(study: Path, typed: str):
    assert load_settings(study, [f"study={typed}", f"model.model={typed}"], Study).study == typed
    assert load_settings(study, [f"model.model={typed}"], Study).model.model == typed


def test_null_override_is_none(study: Path):
    study.write_text('note = "seen"\n' + STUDY)
    assert load_settings(study, ["note=null"], Study).note is None
    assert load_settings(study, ['note="null"'], Study).note == "null"


def test_override_reaches_into_a_list_of_tables(study: Path):
    study.write_text(STUDY + '[[arms]]\nname = "a"\n[[arms]]\nname = "b"\n')
    assert [arm.name for arm in load_settings(study, ["arms.1.name=c"], Study).arms] == ["a", "c"]
    assert "'2' must be a number below 2" in message(study, "arms.2.name=c")


def test_override_through_a_value_says_so(study: Path):
    assert "--set study.lr=1" in (text := message(study, "study.lr=1")) and "'small', not a table" in text


@pytest.mark.parametrize("text", ["train.lr", "=3", "a..b=1", ".a=1"])
def test_malformed_override_is_refused(text: str):
    with pytest.raises(SettingsError, match="KEY=VALUE"):
        parse_override(text)


def test_override_cannot_smuggle_in_a_second_key():
    assert parse_override("note=1\nstudy = 2").value == "1\nstudy = 2"


@pytest.mark.parametrize(
    "extra, expected",
    [
        ("[train]\nepoch = 3", "study.toml: unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ("[train]\nlr = 1\n[lr]", "study.toml: unknown key 'lr'; did you mean 'train.lr'?"),
        (
            "[model]\nkind = 'engine'\nmodel = 'm'\nreplica = 2",
            "unknown key 'model.replica'; did you mean 'model.replicas'?",
        ),
        (
            "[model]\nkind = 'endpoint'\nmodel = 'm'\nreplicas = 2",
            "unknown key 'model.replicas'; kind = 'endpoint' has no such key",
        ),
        (
            "[[arms]]\nname = 'a'\n[[arms.models]]\nkind='engine'\nmodel='m'\nreplcas=1",
            "'arms.0.models.0.replcas'; did you mean 'arms.0.models.0.replicas'?",
        ),
        ("[limits.small]\nlrr = 1", "unknown key 'limits.small.lrr'; did you mean 'limits.small.lr'?"),
        ("[train]\nzzz = 1", "unknown key 'train.zzz'; the keys here are lr, epochs, precision"),
    ],
)
def test_unknown_key_names_its_path_its_file_and_the_nearest_key(tmp_path: Path, extra: str, expected: str):
    path = tmp_path / "study.toml"
    head = "study = 'small'\n"
    path.write_text(
        head + extra + ("" if "[model]" in extra else "\n[model]\nkind = 'engine'\nmodel = 'm'\n")
    )
    assert expected in (text := message(path)) and str(path) in text and "\n" not in text


@pytest.mark.parametrize(
    "override, expected",
    [
        ("train.lr=fast", "--set train.lr=fast: train.lr = 'fast': input should be a valid number"),
        (
            "model.replicas=0",
            "--set model.replicas=0: model.replicas = 0: input should be greater than or equal to 1",
        ),
        (
            "model.kind=engin",
            "model.kind = 'engin' is not known; one of engine, endpoint; did you mean 'engine'?",
        ),
        (
            "judges.a.kind=engin",
            "judges.a.kind = 'engin' is not known; one of engine, endpoint; did you mean 'engine'?",
        ),
        (
            "train.precision=bf61",
            "train.precision = 'bf61' is not known; one of bf16, fp32; did you mean 'bf16'?",
        ),
        ("train.epochs=13", "train.epochs: thirteen epochs bring bad luck; take 12"),
        ("seeds=[1, 'x']", "seeds.1 = 'x': input should be a valid integer"),
        ("trian.lr=1", "--set trian.lr=1: unknown key 'trian'; did you mean 'train'?"),
        (
            "model.replica=1",
            "--set model.replica=1: unknown key 'model.replica'; did you mean 'model.replicas'?",
        ),
    ],
)
def test_wrong_value_is_named_by_its_dotted_path(study: Path, override: str, expected: str):
    assert expected in (text := message(study, override)) and "\n" not in text


def test_missing_keys_and_several_problems_are_all_listed(tmp_path: Path):
    path = tmp_path / "study.toml"
    path.write_text("nothing = 1\n[model]\nmodel = 'm'\n")
    text = message(path)
    assert "has 3 problems" in text
    assert (
        "'study' is missing" in text
        and "model.kind is missing; one of engine, endpoint" in text
        and "unknown key 'nothing'" in text
    )


def test_extends_merges_tables_and_replaces_lists(tmp_path: Path):
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "base.toml").write_text(STUDY + "epochs = 7\n")
    (tmp_path / "bases" / "middle.toml").write_text('extends = "base.toml"\nseeds = [1, 2]\nnote = "middle"')
    top = tmp_path / "top.toml"
    top.write_text('extends = "bases/middle.toml"\nseeds = [3]\n[train]\nlr = 5.0\n')
    loaded = load_settings(top, [], Study)
    assert loaded.train == Train(lr=5.0, epochs=7)
    assert loaded.seeds == (3,) and loaded.note == "middle" and loaded.model.replicas == 2


def test_unset_drops_what_is_inherited(tmp_path: Path, study: Path):
    top = tmp_path / "top.toml"
    top.write_text('extends = "study.toml"\nunset = ["train", "model.replicas"]\n')
    loaded = load_settings(top, [], Study)
    assert loaded.train == Train() and loaded.model == Engine(model="pocket")
    top.write_text('extends = "study.toml"\nunset = ["train.epochs"]\n')
    assert "unset names 'train.epochs', which it does not inherit" in message(top)
    top.write_text('extends = "study.toml"\nunset = "train"\n')
    assert "unset wants a list" in message(top)


def test_error_names_the_layer_that_set_the_key(tmp_path: Path, study: Path):
    study.write_text(STUDY + "epoch = 1\n")
    top = tmp_path / "top.toml"
    top.write_text('extends = "study.toml"\n[train]\nlr = 1.0\n')
    assert message(top).startswith(f"{study}: unknown key 'train.epoch'")


def test_another_member_of_a_union_replaces_the_table(tmp_path: Path, study: Path):
    top = tmp_path / "top.toml"
    top.write_text('extends = "study.toml"\n[model]\nkind = "endpoint"\nmodel = "gpt"\n')
    assert load_settings(top, [], Study).model == Endpoint(model="gpt")
    switched = load_settings(
        study, ["model.base_url=http://x", "model.kind=endpoint", "model.model=gpt"], Study
    )
    assert switched.model == Endpoint(model="gpt", base_url="http://x")


def test_circle_of_extends_is_named(tmp_path: Path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    assert "a.toml -> " in (text := message(tmp_path / "a.toml")) and "circle" in text


def test_unreadable_files_are_named(tmp_path: Path):
    (tmp_path / "broken.toml").write_text("a = = 1")
    (tmp_path / "lost.toml").write_text('extends = "gone.toml"')
    assert "there is no file" in message(tmp_path / "none.toml")
    assert "is not valid TOML" in (text := message(tmp_path / "broken.toml")) and "line 1" in text
    assert "gone.toml, which" in message(tmp_path / "lost.toml")
    assert "cannot read" in message(tmp_path)


def test_hash_counts_values_and_not_their_order_or_source(study: Path, tmp_path: Path):
    same = tmp_path / "same.toml"
    same.write_text('[train]\nlr = 0.0003\n[model]\nreplicas = 2\nmodel = "pocket"\nkind = "engine"\n')
    assert config_hash(load_settings(study, [], Study)) == config_hash(
        load_settings(same, ["study=small"], Study)
    )
    assert config_hash(load_settings(study, [], Study)) != config_hash(
        load_settings(study, ["train.lr=1"], Study)
    )


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_written_settings_load_to_the_same_hash(tmp_path: Path, suffix: str):
    model = Study(
        study='quote " slash \\ tab \t break \n del \x7f é',
        model=Engine(model="pocket"),
        arms=(Arm(name="a", models=(Endpoint(model="m"), Engine(model="n"))), Arm(name="b")),
        limits={"a key": Train(lr=1e-30), "b": Train(lr=float("1e22"))},
    )
    path = tmp_path / "run" / f"config{suffix}"
    assert write_settings(model, path) == config_hash(load_settings(path, [], Study))


def test_toml_leaves_out_none_and_refuses_what_it_cannot_hold():
    assert to_toml({"a": None, "b": {"c": [1.5, True]}, "d": []}) == "d = []\n\n[b]\nc = [1.5, true]\n"
    with pytest.raises(ValueError, match="TOML cannot hold"):
        to_toml({"a": object()})


def test_json_is_exact(study: Path, tmp_path: Path):
    model = load_settings(study, [], Study)
    write_settings(model, tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["note"] is None
