"""The trajectory browser: what its files hold, that hostile texts stay texts, and what a real browser shows."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, to_row
from distill.report.episodes import write_browser

HOSTILE = '</script><script>document.body.dataset.pwned=1</script><img src=x onerror="1">\u2028\x00"\\'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def write(folder, name, trajectories):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    table = pa.Table.from_pylist([to_row(t) for t in trajectories], schema=TRAJECTORY_SCHEMA)
    pq.write_table(table, path)
    return path


def unpack(path):
    (text,) = re.findall(r'"([A-Za-z0-9+/=]+)"', path.read_text())
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture
def arms(panel_of, trajectory_of, tmp_path):
    """Base loses the odd tasks, the student none; one episode says something hostile, one was lost by the machinery, one not played."""
    tasks = panel_of(30).tasks
    base = [trajectory_of(t, success=i % 2 == 0, seed=s) for i, t in enumerate(tasks) for s in (0, 1)]
    base[0] = replace(base[0], error="worker died", end=EndReason.ERROR, success=False)
    distill = [trajectory_of(t, arm="distill", seed=s) for t in tasks for s in (0, 1)][:-1]
    said = HOSTILE.replace("\x00", "")
    for i in (2, 3):
        turns = (replace(distill[i].turns[0], observation=said), *distill[i].turns[1:])
        distill[i] = replace(distill[i], task=replace(distill[i].task, goal=said), turns=turns)
    return {
        "base": [write(tmp_path, "base", [*base, base[3]])],
        "distill": [write(tmp_path, "one", distill[:20]), write(tmp_path, "two", distill[20:])],
    }


def test_the_index_holds_every_outcome_and_the_chunks_every_episode(arms, tmp_path):
    write_browser(arms, tmp_path / "out", title="s")
    index = unpack(tmp_path / "out/episodes/index.js")
    base, distill = index["arms"]
    assert [len(index["pairTask"]), len(base["outcomes"]), len(index["tasks"])] == [60, 60, 30]
    assert (base["outcomes"].count("e"), base["outcomes"].count("w"), base["outcomes"].count("l")) == (
        1,
        29,
        30,
    )
    assert (distill["outcomes"].count("."), distill["outcomes"].count("w")) == (1, 59)
    per_chunk = index["perChunk"]
    bodies = {}
    for path in sorted((tmp_path / "out/episodes").glob("0*.js")):
        number = int(path.stem)
        held = unpack(path)
        assert all(int(pair) // per_chunk == number for pair in held)
        bodies |= held
    assert len(bodies) == 60 and not list((tmp_path / "out/episodes").glob("*.jsonl"))
    won = base["outcomes"].index("w")
    body = bodies[str(won)]["0"]
    assert body["turns"][0][0] == [["thought", "I should look into the fridge first."]]
    assert body["turns"][-1][1:3] == ["put apple 1 in fridge 1", "move apple 1 to fridge 1"]
    assert base["steps"][won] == sum(turn[1] is not None for turn in body["turns"])
    assert len(bodies["0"]) == 2 and sum(len(own) for own in bodies.values()) == 119


def test_the_same_input_gives_the_same_bytes_and_old_chunks_go(arms, tmp_path):
    write_browser(arms, tmp_path / "a", title="s")
    (tmp_path / "b/episodes").mkdir(parents=True)
    (tmp_path / "b/episodes/99999.js").write_text("old")
    write_browser(arms, tmp_path / "b", title="s")
    files = [sorted(p.relative_to(tmp_path / x) for p in (tmp_path / x).rglob("*.*")) for x in "ab"]
    assert files[0] == files[1]
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files[0]
    )


def test_nothing_that_models_wrote_stands_in_a_script(arms, tmp_path):
    page = write_browser(arms, tmp_path / "out", title=HOSTILE)
    scripts = [path.read_text() for path in (tmp_path / "out/episodes").glob("*.js")]
    assert all(re.fullmatch(r'offbook(Index|Chunk)\((\d+,)?"[A-Za-z0-9+/=]+"\);\n', text) for text in scripts)
    assert "<script>document" not in page.read_text()


def dom(page, fragment=""):
    """What Chromium has made of the page after its scripts."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    done = subprocess.run(
        [*command, "--dump-dom", f"file://{page}{fragment}"], capture_output=True, text=True, timeout=120
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at")
def test_a_browser_filters_opens_and_runs_no_foreign_script(arms, tmp_path):
    page = write_browser(arms, tmp_path / "out", title="s")
    whole = dom(page)
    assert "60 tasks and seeds" in whole and "data-ready-ms" in whole
    lost = dom(page, "#arm.base=l&arm.distill=w&seed=1")
    assert "14 of 60" in lost and "base 0 %, distill 100 %" in lost
    index = unpack(tmp_path / "out/episodes/index.js")
    assert "2 of 60" in dom(page, "#words=fridge 7.")
    task = index["tasks"][index["pairTask"][index["arms"][0]["outcomes"].index("e")]][0]
    opened = dom(page, f"#open={task}&at=0")
    assert "ended by error: worker died" in opened and "played as move apple 1 to fridge 1" in opened
    hostile = next(t[0] for t in index["tasks"] if "<script>" in t[2])
    shown = dom(page, f"#open={hostile}&at=0")
    assert "&lt;img src=x" in shown and "data-pwned" not in shown
