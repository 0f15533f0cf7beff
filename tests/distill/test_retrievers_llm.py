"""A model that chooses hints: what it is shown, what its reply may look like, what is counted, and what a restart asks again."""

import asyncio
import json
import re

import pytest

from actors.chat import Completion, GenerateError, PromptTooLongError
from distill.hints.bank import BankError, build_bank, ordered_bank
from distill.hints.call_cache import CallCache
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint
from distill.hints.retrievers import Aids, RankingModel, RetrievalError, make_retriever, retrieve_all
from distill.hints.retrievers.numbers_reply import read_numbers
from envs.task import Task

LINE = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)


def task(number: int = 0, kind: str = "heat") -> Task:
    return Task(
        env="alfworld", split="train", id=f"g{number}", kind=kind, goal=f"put a hot egg in shelf {number}."
    )


def bank_of(number: int, kind: str = "heat"):
    return ordered_bank(
        Hint(
            text=f"Advice {n:04d} of {kind}.",
            kind=kind,
            env="alfworld",
            sources=(),
            writer="w",
            count=number - n,
        )
        for n in range(number)
    )


class Fake:
    """Prefers the hints whose texts come last, and says so in a form that a test may spoil."""

    def __init__(self, reply=None, context_chars=10**9):
        self.reply, self.context_chars = reply, context_chars
        self.prompts: list[str] = []
        self.num_open = self.most_open = 0

    async def __call__(self, messages, sampling, *, session):
        prompt = "\n".join(message.content for message in messages)
        if len(prompt) > self.context_chars:
            raise PromptTooLongError("too long")
        self.prompts.append(prompt)
        self.num_open += 1
        self.most_open = max(self.most_open, self.num_open)
        await asyncio.sleep(0)
        self.num_open -= 1
        shown = sorted(LINE.findall(messages[1].content), key=lambda line: line[1], reverse=True)
        k = int(re.search(r"Name (\d+) different", prompt)[1])
        good = json.dumps({"numbers": [int(number) for number, _ in shown[:k]]})
        text = self.reply(len(messages), good) if self.reply else good
        return Completion(
            text=text, prompt_tokens=100, cached_tokens=0, completion_tokens=7, finish_reason="stop"
        )


def aids_of(fake, path) -> Aids:
    return Aids(model=RankingModel(open=lambda: fake, name="fake", cache=CallCache(path / "calls.jsonl")))


def config_of(k: int = 3, **llm) -> RetrieverConfig:
    return RetrieverConfig(name="llm", k=k, llm={"max_attempts": 1, **llm})


def retrieve(fake, path, bank=None, tasks=(task(),), **settings):
    bank = bank_of(20) if bank is None else bank
    return retrieve_all(config_of(**settings), bank, dict.fromkeys(tasks, "a room"), aids_of(fake, path))


def texts(found) -> list[str]:
    return [hint.text for hint in found.hints]


def test_the_model_sees_every_candidate_and_its_choice_is_given_in_its_order(tmp_path):
    fake = Fake()
    found = retrieve(fake, tmp_path)[task()]
    assert texts(found) == ["Advice 0019 of heat.", "Advice 0018 of heat.", "Advice 0017 of heat."]
    [prompt] = fake.prompts
    assert len(LINE.findall(prompt)) == 20 and "put a hot egg in shelf 0." in prompt and "a room" in prompt
    assert (found.num_calls, found.num_rounds, found.num_repairs, found.fell_back) == (1, 1, 0, False)
    assert (found.prompt_tokens, found.completion_tokens) == (100, 7)


@pytest.mark.parametrize("number", [200, 5000])
def test_paper_6_2_candidates_that_do_not_fit_are_asked_about_in_rounds_and_none_is_left_out(
    tmp_path, number
):
    fake, bank = Fake(), bank_of(number)
    found = retrieve(fake, tmp_path, bank, max_candidate_chars=2000)[task()]
    # The last ones of the bank's order win: a cut list would never have shown them.
    assert texts(found) == [f"Advice {number - n:04d} of heat." for n in (1, 2, 3)]
    shown = [text for prompt in fake.prompts for _, text in LINE.findall(prompt)]
    assert {hint.text for hint in bank.hints} == set(shown)
    assert found.num_rounds > 1 and found.num_calls == len(fake.prompts)
    assert found.prompt_tokens == 100 * len(fake.prompts)
    assert all(sum(len(line) for line in LINE.findall(p)) < 2000 for p in fake.prompts)


def test_a_prompt_that_the_model_finds_too_long_is_asked_in_parts(tmp_path):
    fake = Fake(context_chars=2500)
    found = retrieve(fake, tmp_path, bank_of(300))[task()]
    assert texts(found)[0] == "Advice 0299 of heat." and found.num_rounds > 1
    with pytest.raises(RetrievalError, match="4 hints do not fit one question"):
        retrieve(Fake(context_chars=10), tmp_path, bank_of(301))


def test_fewer_hints_than_k_are_all_given_and_nobody_is_asked(tmp_path):
    fake = Fake()
    found = retrieve(fake, tmp_path, bank_of(3), k=9)[task()]
    assert len(found.hints) == 3 and not fake.prompts and found.num_rounds == 0
    assert retrieve(fake, tmp_path, bank_of(3, "cool"))[task()].hints == ()


@pytest.mark.parametrize(
    "bad",
    [
        "I would take 1, 2 and 3.",
        '{"numbers": [1, 2',
        '{"numbers": [1, 1, 2]}',
        '{"numbers": [0, 21, 99]}',
        '{"numbers": [1, 2]}',
        '{"numbers": "1 2 3"}',
        "[" * 5000,
        "",
    ],
)
def test_an_unusable_reply_is_asked_again_once(tmp_path, bad):
    fake = Fake(reply=lambda num_messages, good: bad if num_messages == 2 else good)
    found = retrieve(fake, tmp_path)[task()]
    assert texts(found)[0] == "Advice 0019 of heat." and len(found.hints) == 3
    assert (found.num_calls, found.num_repairs, found.prompt_tokens) == (2, 1, 200)
    assert "cannot be used" in fake.prompts[1] and "cannot be used" not in fake.prompts[0]


def test_a_model_that_cannot_choose_stops_the_study_or_is_replaced_by_bm25_and_counted(tmp_path):
    fake = Fake(reply=lambda *_: "no")
    with pytest.raises(
        RetrievalError, match=r"could not choose hints for alfworld/g0.*no JSON list.*on_failure"
    ):
        retrieve(fake, tmp_path)
    assert len(fake.prompts) == 2
    found = retrieve(fake, tmp_path, on_failure="bm25")[task()]
    assert found.fell_back and found.prompt_tokens == 200
    best = make_retriever(RetrieverConfig(k=3), bank_of(20))(task(), "a room")
    assert found.hints == best


def test_a_server_that_is_down_is_never_taken_for_a_bad_reply(tmp_path):
    class Down(Fake):
        async def __call__(self, messages, sampling, *, session):
            raise GenerateError("it is down")

    with pytest.raises(GenerateError, match="down"):
        retrieve(Down(), tmp_path, on_failure="bm25")


def test_a_restart_asks_nothing_again_and_tells_the_same_costs(tmp_path):
    tasks = [task(n) for n in range(6)]
    fake = Fake()
    first = retrieve(fake, tmp_path, tasks=tasks)
    assert len(fake.prompts) == 6

    def must_not_open():
        raise AssertionError("asked again")

    aids = Aids(
        model=RankingModel(open=must_not_open, name="fake", cache=CallCache(tmp_path / "calls.jsonl"))
    )
    assert retrieve_all(config_of(), bank_of(20), dict.fromkeys(tasks, "a room"), aids) == first


def test_what_was_answered_before_a_failure_is_kept(tmp_path):
    class Dies(Fake):
        async def __call__(self, messages, sampling, *, session):
            if len(self.prompts) == 4:
                raise GenerateError("it died")
            return await super().__call__(messages, sampling, session=session)

    tasks = [task(n) for n in range(6)]
    with pytest.raises(GenerateError, match="died"):
        retrieve(Dies(), tmp_path, tasks=tasks, concurrency=1)
    again = Fake()
    retrieve(again, tmp_path, tasks=tasks)
    assert len(again.prompts) == 2


def test_tasks_that_read_alike_are_asked_about_once_and_questions_are_limited(tmp_path):
    fake, twin = Fake(), Task(env="alfworld", split="train", id="twin", kind="heat", goal=task().goal)
    found = retrieve(fake, tmp_path, tasks=(task(), twin))
    assert len(fake.prompts) == 1 and found[task()] == found[twin]
    many = Fake()
    retrieve(many, tmp_path / ".." / tmp_path.name, tasks=[task(n) for n in range(50, 80)], concurrency=4)
    assert many.most_open == 4


def test_another_model_or_bank_is_asked_anew(tmp_path):
    retrieve(Fake(), tmp_path)
    fake = Fake()
    other = Aids(
        model=RankingModel(open=lambda: fake, name="other", cache=CallCache(tmp_path / "calls.jsonl"))
    )
    retrieve_all(config_of(), bank_of(20), {task(): "a room"}, other)
    retrieve(fake, tmp_path, bank_of(21))
    assert len(fake.prompts) == 2


def test_an_empty_bank_and_a_missing_model_are_errors(tmp_path):
    with pytest.raises(BankError, match="bank is empty"):
        retrieve(Fake(), tmp_path, build_bank([]))
    with pytest.raises(ValueError, match="needs a model"):
        retrieve_all(config_of(), bank_of(5), {task(): ""})
    with pytest.raises(ValueError, match="retrieve_all"):
        make_retriever(config_of(), bank_of(5))


@pytest.mark.parametrize(
    "reply",
    [
        '{"numbers": [3, 1]}',
        "[3, 1]",
        '```json\n{"best": ["3", "h1"]}\n```',
        'Here it is: {"numbers": [3, 3, 99, 1, 2]}',
        '{"numbers": [3.0, true, "#1"]}',
    ],
)
def test_replies_that_plainly_mean_it_are_read(reply):
    assert read_numbers(reply, 10, 2).numbers == (3, 1)
    assert read_numbers(reply, 10, 2).problem is None


def test_numbers_in_running_text_are_not_guessed():
    assert read_numbers("Of 10 I take 3 and 1.", 10, 2).problem == "it holds no JSON list of numbers"
    problem = read_numbers('{"numbers": [1, 1, 12]}', 10, 2).problem
    assert (
        problem
        == "it names 1 usable numbers instead of 2, 12 is not between 1 and 10, a number stands in it twice"
    )
