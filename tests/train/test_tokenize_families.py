"""Masks are proven on the chat templates of five families, and templates that cannot be proven are refused by name of what they do."""

import asyncio
import sys
from pathlib import Path

import pytest

from actors.agents import make_agent
from actors.chat import Completion, Message, Sampling
from actors.codec import ChatCodec
from actors.config import AgentConfig, BudgetConfig
from actors.episode import EpisodeSpec, run_episode
from distill.strip import strip
from envs.config import ScriptedConfig
from envs.scripted import list_tasks, open_env
from train.errors import MaskError
from train.tokenize import IGNORED, loss_by_role, prove_mask, prove_play, tokenize_row

sys.path.insert(0, str(Path(__file__).parent))
from families import ADVERSARIES, FAMILIES, QWEN3_SILENT, Family, tokenizer_of

CHAT = [
    {"role": "system", "content": "Solve the household task; answer with one line."},
    {"role": "user", "content": "You are in the middle of a room.\n\nYour task is to: heat some mug."},
    {"role": "assistant", "content": "think: first  take the mug"},
    {"role": "user", "content": "OK."},
    {"role": "assistant", "content": "go to cabinet 6"},
    {
        "role": "user",
        "content": "On the cabinet 6 (it is open, you see nothing else in it), you see a mug 1.",
    },
    {"role": "assistant", "content": "take mug 1 from cabinet 6"},
]
REPLIES = tuple(m["content"] for m in CHAT if m["role"] == "assistant")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, tokenizer_of(FAMILIES[request.param], tmp_path_factory.mktemp("family"))


@pytest.mark.parametrize("chat", [CHAT, CHAT[1:], [*CHAT, {"role": "user", "content": "OK."}], CHAT[1:3]])
def test_loss_is_on_the_replies_alone_in_every_family(family, chat):
    name, tokenizer = family
    if name.startswith("qwen3") and chat[-1]["role"] == "user":
        chat = chat[:-1]
    input_ids, labels = tokenize_row(chat, tokenizer, row_id=name)
    texts = prove_mask({"input_ids": input_ids, "labels": labels}, tokenizer, messages=chat)
    said = tuple(m["content"] for m in chat if m["role"] == "assistant")
    assert tuple(text.removeprefix(" ") for text in texts) == said
    assert all(text.startswith(" ") == (name == "mistral") for text in texts)
    counts = loss_by_role({"input_ids": input_ids, "labels": labels}, chat, tokenizer)
    assert counts == {"assistant": sum(label != IGNORED for label in labels)}


def test_the_trained_tokens_are_the_prompt_and_the_reply_that_the_engine_sees(family):
    name, tokenizer = family
    codec = ChatCodec(tokenizer)
    input_ids, labels = tokenize_row(CHAT, tokenizer)
    lead = " " if name == "mistral" else ""
    asked = [i for i, m in enumerate(CHAT) if m["role"] == "assistant"]
    for index in asked:
        prompt = codec.encode_whole([Message(**m) for m in CHAT[:index]])
        sampled = tokenizer(lead + CHAT[index]["content"] + tokenizer.eos_token, add_special_tokens=False)
        both = [*prompt, *sampled["input_ids"]]
        assert input_ids[: len(both)] == both
        assert labels[: len(both)][len(prompt) :] == sampled["input_ids"]
        assert labels[len(prompt) - 1] == IGNORED


STATE = "goal: g\nlocations visited: None\ncurrent location: hall\ncurrent inventory: None\naction: "


@pytest.mark.parametrize("layout", ["chat", "transcript"])
@pytest.mark.parametrize("kind", ["react", "stateact"])
def test_a_played_episode_trains_on_what_was_played(family, kind, layout):
    """Every prompt that the model was given in an episode, to the token, and what it answered."""
    name, tokenizer = family
    codec = ChatCodec(tokenizer)
    agent = make_agent(AgentConfig(name=kind, layout=layout), "scripted")
    env = open_env(ScriptedConfig())
    task = list_tasks(ScriptedConfig(), "train")[0]
    given: list[tuple[list[int], str]] = []
    said = ["think: I look about.", "look", "go north", "open chest"]
    if kind == "stateact":
        said = [STATE + text for text in said]

    async def model(messages, sampling: Sampling, *, session: str) -> Completion:
        text = said[len(given) % 4]
        given.append((codec.encode(messages), text))
        return Completion(
            text=text, prompt_tokens=1, cached_tokens=0, completion_tokens=1, finish_reason="stop"
        )

    spec = EpisodeSpec(task=task, role="base", arm="base", seed=0)
    budget = BudgetConfig(max_steps=6, max_turns=8)
    played = asyncio.run(run_episode(env, agent, model, spec, budget, Sampling(), "m"))
    rows = strip(played, agent)
    assert len(given) == len(played.turns) > 3
    assert len(rows) == (1 if layout == "chat" else len(given))
    tokenized = [tokenize_row(row["messages"], tokenizer, row_id=name) for row in rows]
    for row, (input_ids, labels) in zip(rows, tokenized, strict=True):
        prove_play(input_ids, labels, row["messages"], tokenizer)
    for number, (prompt, text) in enumerate(given):
        input_ids, labels = tokenized[number if layout == "transcript" else 0]
        assert input_ids[: len(prompt)] == prompt
        reply = [label for label in labels[len(prompt) :] if label != IGNORED]
        assert tokenizer.decode(reply).lstrip().startswith(text + tokenizer.eos_token)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_what_cannot_be_proven_is_refused_by_name_of_what_it_does(name, tmp_path):
    family, complaint = ADVERSARIES[name]
    tokenizer = tokenizer_of(family, tmp_path)
    with pytest.raises(MaskError, match=f"row t7.*({complaint})"):
        tokenize_row(CHAT, tokenizer, row_id="t7")


def test_a_reply_that_thinks_is_refused_where_the_history_forgets_it(tmp_path):
    tokenizer = tokenizer_of(FAMILIES["qwen3"], tmp_path)
    thinking = [dict(m) for m in CHAT]
    thinking[2]["content"] = "<think>\nmug\n</think>\n\ngo to cabinet 6"
    with pytest.raises(MaskError, match="row t7 message 2: the chat template rewrites the reply"):
        tokenize_row(thinking, tokenizer, row_id="t7")
    # The last thought is shown as it was thought, and nothing follows that could forget it.
    texts = tokenize_row(thinking[:3], tokenizer)
    assert "<think>\nmug\n</think>\n\ngo to cabinet 6" in tokenizer.decode(texts[0])


def test_an_empty_thought_before_the_only_reply_is_part_of_the_question(tmp_path):
    tokenizer = tokenizer_of(Family(template=QWEN3_SILENT, plain=("<think>", "</think>")), tmp_path)
    input_ids, labels = tokenize_row(CHAT[:3], tokenizer)
    first = next(i for i, label in enumerate(labels) if label != IGNORED)
    assert tokenizer.decode(input_ids[:first]).endswith("assistant\n<think>\n\n</think>\n\n")
    assert tokenizer.decode(input_ids[first:]) == f"{REPLIES[0]}<|im_end|>\n"


def test_a_template_that_asks_for_the_date_gets_a_fixed_one(tmp_path):
    tokenizer = tokenizer_of(FAMILIES["llama-3-today"], tmp_path)
    assert "Day: 26 Jul 2024" in tokenizer.apply_chat_template(CHAT, tokenize=False)


def test_a_template_that_only_real_rows_give_away_is_refused(tmp_path):
    """Stand-in words are short; what is said in an episode is not."""
    tokenizer = tokenizer_of(ADVERSARIES["newest question cut"][0], tmp_path)
    short = [*CHAT[:1], {"role": "user", "content": "a mug"}, CHAT[2]]
    tokenize_row(short, tokenizer)
    with pytest.raises(MaskError, match="does not keep earlier turns"):
        tokenize_row([*short, CHAT[5], CHAT[6], CHAT[3], CHAT[4]], tokenizer)


def test_a_token_across_the_boundary_is_found_after_the_first_rows_too(tmp_path):
    tokenizer = tokenizer_of(FAMILIES["qwen2.5"], tmp_path)
    for _ in range(10):
        tokenize_row(CHAT, tokenizer)
    broken = [*CHAT[:2], {"role": "assistant", "content": "\n\n go to cabinet 6"}]
    with pytest.raises(MaskError, match="row t7: the tokenizer reads letters of two turns as one token"):
        tokenize_row(broken, tokenizer, row_id="t7")
