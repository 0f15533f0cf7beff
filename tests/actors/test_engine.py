"""A real engine on the random checkpoint: counts, adapters, determinism, and what a killed one costs."""

import os

import pytest
from rollout_kills import Killer, played

from actors.chat import Message, PromptTooLongError, Sampling
from actors.codec import ChatCodec
from actors.config import AgentConfig, BudgetConfig, EngineConfig, RolloutConfig, SamplingConfig
from actors.driver import RolloutError
from actors.episode import EpisodeSpec
from actors.fleet import Fleet
from actors.models import ModelError
from actors.rollout import RolloutSettings, rollout
from actors.store import read_finished
from actors.tokenizer import load_tokenizer
from envs.config import ScriptedConfig
from envs.registry import list_tasks

ENV = ScriptedConfig(num_tasks=12)
CHAT = (
    Message(role="system", content="solve the household task"),
    Message(role="user", content="you see cabinet 1, and drawer 2. " * 8),
)
GREEDY = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def model(tiny_model):
    return EngineConfig(model=str(tiny_model), device="cpu", kv_cache_gb=0.2, max_num_seqs=16)


@pytest.fixture(scope="module")
def fleet(ray_cluster, model):
    with Fleet(model) as running:
        yield running


@pytest.fixture(scope="module")
def generate(fleet):
    import ray

    engine = fleet.engines["engine 0"]

    def ask(chat=CHAT, sampling=GREEDY, adapter=None):
        return ray.get(engine.generate.remote(chat, sampling, adapter))

    return ask


def play(fleet, model, folder, progress=None, specs=None):
    asked = [EpisodeSpec(task=task, role="base", arm="base", seed=0) for task in list_tasks(ENV)]
    return rollout(
        specs or asked,
        RolloutSettings(
            env=ENV,
            agent=AgentConfig(prompt="brief"),
            model=model,
            budget=BudgetConfig(max_turns=6, max_repeats=6, turn_timeout_s=300),
            sampling=SamplingConfig(max_tokens=8),
            rollout=RolloutConfig(slots_per_host=6, flush_every_s=0.05),
        ),
        folder,
        fleet=fleet,
        progress=progress,
    )


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_counts_and_text_are_those_of_the_reference(generate, tiny_model):
    import torch
    from transformers import AutoModelForCausalLM

    first = generate()
    tokenizer = load_tokenizer(str(tiny_model))
    text = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in CHAT], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    expected = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert first.text == tokenizer.decode(expected, skip_special_tokens=True)
    assert first.prompt_tokens == ids.shape[1]
    assert first.completion_tokens == len(expected)
    again = generate()
    assert again.text == first.text
    assert again.cached_tokens > first.prompt_tokens / 2


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_a_host_reads_a_chat_as_the_engine_does(fleet):
    import ray

    engine = fleet.engines["engine 0"]
    codec = ChatCodec(ray.get(engine.tokenizer.remote()))
    grown = [*CHAT, Message(role="assistant", content="open drawer 2"), Message(role="user", content="mug 1")]
    for chat in (CHAT[:1], CHAT, grown):
        assert codec.encode(chat) == ray.get(engine.render.remote(chat))


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_an_adapter_changes_the_weights_and_the_base_comes_back(generate, tiny_adapter):
    base = generate()
    adapted = generate(adapter=str(tiny_adapter))
    assert adapted.text != base.text
    assert adapted.cached_tokens == 0, "cached keys and values of other weights were used"
    assert generate().text == base.text
    assert generate(adapter=str(tiny_adapter)).text == adapted.text


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_sampling_follows_the_seed(generate):
    texts = [
        generate(sampling=Sampling(temperature=1.5, max_tokens=12, seed=seed)).text for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_a_prompt_beyond_the_context_is_told_apart(generate):
    with pytest.raises(PromptTooLongError, match=r"the prompt has \d+ tokens, the engine's context 2048"):
        generate(chat=(Message(role="user", content="cabinet " * 3000),))


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_an_adapter_of_another_base_is_refused_before_anything_is_played(
    fleet, model, tiny_adapter, tmp_path
):
    import json
    import shutil

    foreign = shutil.copytree(tiny_adapter, tmp_path / "foreign")
    config = json.loads((foreign / "adapter_config.json").read_text())
    (foreign / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": "Qwen2.5-7B"})
    )
    specs = [
        EpisodeSpec(task=t, role="student", arm="distill", seed=0, adapter=str(foreign))
        for t in list_tasks(ENV)[:2]
    ]
    with pytest.raises(ModelError, match=r"was trained on 'Qwen2\.5-7B' but the engine serves"):
        play(fleet, model, tmp_path / "out", specs=specs)
    assert not (tmp_path / "out" / "episodes.jsonl").exists()


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_a_killed_engine_costs_only_what_was_in_flight(fleet, model, tmp_path):
    play(fleet, model, tmp_path / "unbroken")
    killer = Killer("Engine", times=1)
    summary = play(fleet, model, tmp_path / "broken", progress=killer.note)
    assert len(killer.killed) == 1
    assert killer.killed[0] != os.getpid()
    assert summary.retries > 0
    assert summary.errors == 0
    assert played(tmp_path / "broken") == played(tmp_path / "unbroken")
    assert all(turn.prompt_tokens for t in read_finished(tmp_path / "broken") for turn in t.turns)


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
def test_an_engine_that_cannot_start_says_why(ray_cluster, tiny_model):
    config = EngineConfig(model=str(tiny_model), device="cpu", kv_cache_gb=0.2, dtype="float3")
    with pytest.raises(RolloutError, match=r"the engine for .* did not start"):
        assert Fleet(config).engines
