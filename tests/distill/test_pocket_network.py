"""The pocket model's network and training, on a tiny scale, and the shipped weights."""

import json
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from distill.pocket.advice import phrase  # noqa: E402
from distill.pocket.corpus import write_shards, write_tokenizer  # noqa: E402
from distill.pocket.evaluate import evaluate, first_thoughts, wilson  # noqa: E402
from distill.pocket.habits import Habit, lacking  # noqa: E402
from distill.pocket.households import HouseholdLessons, course, unseen  # noqa: E402
from distill.pocket.network import (  # noqa: E402
    Decoder,
    NetworkConfig,
    PocketNetwork,
    load_network,
    qwen2_state,
    save_qwen2,
)
from distill.pocket.pretrain import Muon, PretrainConfig, match_drill, name_drill, orthogonal, train  # noqa: E402

MODEL = Path(__file__).parents[2] / "distill" / "pocket" / "model"


@pytest.fixture
def network():
    torch.manual_seed(0)
    config = NetworkConfig(vocab_size=60, hidden=64, layers=2, heads=2, kv_heads=1, inner=48, rope_theta=1e6)
    words, numbers = torch.zeros(60, dtype=torch.long), torch.zeros(60, dtype=torch.long)
    words[20:40], numbers[20:40] = torch.arange(20) // 4 + 1, torch.arange(20) % 4 + 1
    network = PocketNetwork(config, words, numbers)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    return network.eval()


def test_logits_equal_those_of_transformers_qwen2(network, tmp_path):
    from transformers import AutoModelForCausalLM

    save_qwen2(network, qwen2_state(network), tmp_path, eos_id=1, pad_id=0)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(reference).__name__ == "Qwen2ForCausalLM"
    tokens = torch.randint(0, 60, (2, 17))
    with torch.no_grad():
        theirs, ours = reference(tokens).logits, load_network(tmp_path)(tokens)
    assert torch.allclose(theirs, ours, atol=1e-4)
    # bfloat16 on disk is the only difference to what was trained.
    assert torch.allclose(ours, network(tokens), atol=0.1)


def test_numbers_of_one_word_share_a_part_of_their_embedding(network):
    before = network.embedding().detach().clone()
    with torch.no_grad():
        network.words[1] += 1.0
    moved = (network.embedding() - before).abs().sum(dim=1) > 0
    assert moved.nonzero().flatten().tolist() == [20, 21, 22, 23]


def test_the_decoder_agrees_with_the_whole_sequence(network):
    rng = random.Random(0)
    rows = [[rng.randrange(60) for _ in range(n)] for n in (5, 9, 3)]
    more = [[rng.randrange(60) for _ in range(n)] for n in (4, 2)]
    decoder = Decoder(network, 3, max_length=32)
    decoder.extend([0, 1, 2], rows)
    said = decoder.extend([0, 2], more)
    for logits, whole in zip(said, (rows[0] + more[0], rows[2] + more[1]), strict=True):
        with torch.no_grad():
            expected = network(torch.tensor([whole]))[0, -1]
        assert torch.allclose(logits, expected, atol=1e-4)


def test_the_orthogonal_update_has_singular_values_near_one():
    values = torch.linalg.svdvals(orthogonal(torch.randn(48, 20)))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.5


def test_matrices_that_are_pushed_one_way_stop_growing():
    def grown(decay):
        matrix = torch.nn.Parameter(torch.zeros(24, 12))
        muon, push = Muon([matrix]), torch.randn(24, 12, generator=torch.Generator().manual_seed(0))
        for _ in range(500):
            matrix.grad = push.clone()
            muon.step(0.02, decay, rank=0, world=1)
        return float(torch.linalg.matrix_norm(matrix.detach(), 2))

    assert grown(0.6) < 3 < 8 < grown(0.0)


def test_a_name_drill_says_everything_twice():
    batch = name_drill(random.Random(0), list(range(10, 60)), max_tokens=200, length=10)
    assert (batch.tokens[:, :10] == batch.tokens[:, 10:]).all()
    assert batch.roles[:, :10].sum() == 0 and batch.roles[:, 10:].all()


def test_a_match_drill_answers_every_word_with_its_name_or_that_it_is_absent():
    names = {word: [100 + 10 * word + n for n in range(3)] for word in range(1, 31)}
    batch = match_drill(random.Random(0), names, absent=5, max_tokens=300, length=10)
    assert batch.tokens.shape == (10, 30)
    answers = []
    for row, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        listed, asked, said = row[:10], row[10::2], row[11::2]
        assert len({(name - 100) // 10 for name in listed}) == 10
        for word, answer in zip(asked, said, strict=True):
            held = [name for name in listed if name in names[word]]
            assert [answer] == (held or [5])
            answers.append(answer)
        assert sum(roles) == 10 and not sum(roles[:11:1]) and all(roles[11::2])
    assert 0.25 < answers.count(5) / len(answers) < 0.6


def test_training_lowers_the_loss_resumes_and_ends_on_time(tmp_path):
    lessons = HouseholdLessons()
    write_tokenizer(tmp_path / "tokenizer", lessons)
    write_shards(
        tmp_path / "shards", tmp_path / "tokenizer", lessons, seed=0, num_shards=1, episodes_per_shard=60
    )
    small = {
        "workers": 1,
        "hidden": 64,
        "heads": 2,
        "kv_heads": 1,
        "inner": 64,
        "layers": 1,
        "step_tokens": 1024,
    }
    # A row every other update: a busy machine makes few of them in fifteen seconds.
    small |= {"drill_steps": 0, "checkpoint_s": 1.0, "log_every": 2}
    out = tmp_path / "out"
    train(PretrainConfig(minutes=0.25, **small), tmp_path / "shards", tmp_path / "tokenizer", out)
    first = torch.load(out / "state.pt", weights_only=True)["counters"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert (out / "final" / "model.safetensors").is_file() and (out / "ema" / "config.json").is_file()
    train(PretrainConfig(minutes=0.3, **small), tmp_path / "shards", tmp_path / "tokenizer", out)
    second = torch.load(out / "state.pt", weights_only=True)["counters"]
    assert second[0] > first[0]
    assert second[2] < 0.3 * 60 + 5


def test_wilson_interval():
    low, high = wilson(50, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)
    assert wilson(0, 0) == (0.0, 1.0)


needs_weights = pytest.mark.skipif(
    not (MODEL / "model.safetensors").is_file(),
    reason="the shipped weights are missing; make them with `make pocket`",
)


@needs_weights
def test_the_shipped_model_is_small_and_complete():
    assert sum(f.stat().st_size for f in MODEL.iterdir()) < 25e6
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"] and config["tie_word_embeddings"]
    assert (MODEL / "README.md").is_file()


@needs_weights
def test_transformers_reads_the_shipped_tokenizer_as_it_was_trained():
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(MODEL)
    assert len(loaded.encode("You arrive at cabinet 6. The cabinet 6 is closed.")) == 5
    assert loaded.eos_token == "<|im_end|>"


@needs_weights
def test_the_shipped_model_plays_and_obeys():
    # What the card says of these weights, with room for the draw of 40 games.
    base = evaluate(MODEL, course(), unseen(77, 40), "base")
    assert base.watched_said >= 15
    assert base.watched_right / base.watched_said > 0.9
    assert 6 <= base.successes <= 22
    # Advice that fits changes what it does; advice that does not bear on the task changes little.
    fitting, idle = (evaluate(MODEL, course(), unseen(77, 40), arm) for arm in ("fitting", "idle"))
    assert fitting.successes >= base.successes + 12
    assert abs(idle.successes - base.successes) <= 8


@needs_weights
def test_the_shipped_model_plans_what_it_is_advised():
    games = [
        game
        for game in unseen(78, 300)
        if game.game.goal.object_type in lacking(Habit.OPEN_CONTAINERS) & lacking(Habit.TAKE_NAMED)
    ][:25]
    assert len(games) >= 15

    def share(habit, plan):
        hints = [phrase(random.Random(n), habit) if habit else "" for n in range(len(games))]
        thoughts = first_thoughts(MODEL, course().agent, games, [[hint] if hint else [] for hint in hints])
        return sum(plan in thought for thought in thoughts) / len(games)

    assert share(Habit.OPEN_CONTAINERS, "I look inside.") > 0.6 > 0.3 > share(None, "I look inside.")
    assert share(Habit.TAKE_NAMED, "I take only that.") > 0.6 > 0.3 > share(None, "I take only that.")
