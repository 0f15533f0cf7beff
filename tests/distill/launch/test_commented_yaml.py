"""What is written with comments reads back as the values alone."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.launch.commented_yaml import Why, comment, plain, to_yaml

# YAML knows no other control characters, and reads these line ends as its own.
_texts = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff", include_characters="\n"
    )
)
_scalars = st.none() | st.booleans() | st.integers() | _texts
_keys = st.text("abcDEF_-/. ", min_size=1, max_size=12)


def _nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    held = st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4)
    return held | st.builds(Why, _texts, held)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        _keys,
        st.recursive(_scalars | st.builds(Why, _texts, _scalars), _nested, max_leaves=20),
        min_size=1,
        max_size=5,
    )
)
def test_it_reads_back_as_the_plain_values(document: dict) -> None:
    assert yaml.safe_load(to_yaml(document)) == plain(document)


def test_a_reason_stands_above_its_key_at_the_same_depth() -> None:
    text = to_yaml({"a": {"b": Why("because", 1), "c": [1, Why("and so", "x")]}})
    assert "  # because\n  b: 1\n" in text
    assert "    # and so\n    - x\n" in text


def test_a_script_stays_readable() -> None:
    assert to_yaml({"run": "cd x\n  y\n\nz\n"}) == "run: |\n  cd x\n    y\n\n  z\n"


def test_long_reasons_are_wrapped_and_indented_lines_stay() -> None:
    lines = comment("word " * 60 + "\n    code", indent=4)
    assert max(map(len, lines)) <= 118
    assert lines[-1] == "    #     code"
