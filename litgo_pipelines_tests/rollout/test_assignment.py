"""Who is in an experiment: the same everywhere, in the shares that were designed, and never moved from one side to the other."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency

from litgo_pipelines.rollout.assignment import Mode, Split, assign, place

STEPS = (0.01, 0.05, 0.1, 0.25, 0.5)
DRAWN = np.random.default_rng(7).bytes(20_000 * 16)
CLIENTS = [UUID(bytes=DRAWN[at : at + 16]) for at in range(0, len(DRAWN), 16)]
SPLIT = Split("a1", "b1", STEPS, 0)

salts = st.text("0123456789abcdef", min_size=1, max_size=32)
ramps = st.lists(st.floats(0.001, 0.5), min_size=1, max_size=6, unique=True).map(lambda one: tuple(sorted(one)))


def counts(split: Split) -> Counter[str | None]:
    return Counter(assign(one, split) for one in CLIENTS)


def likely(found: int, of: int, share: float) -> bool:
    """Whether a count is none that chance brings about once in a million times."""
    return bool(binomtest(found, of, share).pvalue > 1e-6)


@settings(max_examples=300, deadline=None)
@given(st.uuids(), salts, salts, ramps, st.sampled_from(["ab", "interleaving"]))
def test_a_ramp_lets_in_who_was_held_back_and_moves_nobody_else(
    client: UUID, salt: str, ramp_salt: str, steps: tuple[float, ...], mode: Mode
) -> None:
    """Control stays control, who is let in stays in, and only who is held back changes; at the last step nobody is held back."""
    sides = [assign(client, Split(salt, ramp_salt, steps, step, mode)) for step in range(len(steps))]
    inside = "treatment" if mode == "ab" else "interleaved"
    outside = "control" if mode == "ab" else None
    if sides[0] == outside:
        assert set(sides) == {outside}
    else:
        held = sides.count("held back")
        assert sides == ["held back"] * held + [inside] * (len(steps) - held)
        assert sides[-1] == inside


@settings(max_examples=200, deadline=None)
@given(st.uuids(), salts)
def test_a_client_stands_inside_the_unit_interval(client: UUID, salt: str) -> None:
    """From 0 up to, and not at, 1."""
    assert 0 <= place(client, salt) < 1


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_the_sides_are_as_large_as_designed(step: int) -> None:
    """Treatment at the share of the step, control whole from the first step on, the rest held back."""
    found = counts(replace(SPLIT, step=step))
    everybody = len(CLIENTS)
    assert likely(found["treatment"], everybody, STEPS[step])
    assert likely(found["control"], everybody, 1 - STEPS[-1])
    assert found["treatment"] + found["control"] + found["held back"] == everybody


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_the_share_that_the_sample_ratio_expects_is_the_one_that_comes_about(step: int) -> None:
    """Of those who are counted, `exposed_share` are in treatment."""
    split = replace(SPLIT, step=step)
    found = counts(split)
    assert likely(found["treatment"], found["treatment"] + found["control"], split.exposed_share)
    # At the last step nobody is held back, so the share of all clients is that of the counted ones.
    assert replace(SPLIT, step=len(STEPS) - 1).exposed_share == STEPS[-1]


def test_interleaved_lists_go_to_the_share_of_the_step_and_to_nobody_else() -> None:
    """There is no control: who is not let in is not in the experiment."""
    split = replace(SPLIT, step=2, mode="interleaving")
    found = counts(split)
    assert set(found) == {None, "interleaved", "held back"}
    assert likely(found["interleaved"], len(CLIENTS), STEPS[2])
    assert split.exposed_share == 1.0


def test_the_sides_of_two_experiments_say_nothing_about_each_other() -> None:
    """Crossed, the sides of two experiments with salts of their own are as independent as chance makes them."""
    first, second = replace(SPLIT, step=4), Split("a2", "b2", STEPS, 4)
    table = np.zeros((2, 2))
    for one in CLIENTS:
        table[int(assign(one, first) == "treatment"), int(assign(one, second) == "treatment")] += 1
    assert chi2_contingency(table).pvalue > 1e-6


def test_who_is_let_in_first_says_nothing_about_the_side_of_the_next_experiment() -> None:
    """Neither does the ramp's order within one experiment follow the order of the arms' hash, nor that of another ramp."""
    places = np.array([[place(one, salt) for salt in ("a1", "b1", "b2")] for one in CLIENTS])
    correlation = np.corrcoef(places, rowvar=False)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(len(CLIENTS))


def test_the_ramps_salt_decides_who_is_let_in_first_and_nothing_else() -> None:
    """With another one the same clients are control, and others of the rest are held back."""
    sides = [[assign(one, replace(SPLIT, ramp_salt=salt)) for one in CLIENTS] for salt in ("b1", "b2")]
    controls, treated = ([{n for n, one in enumerate(each) if one == side} for each in sides] for side in ("control", "treatment"))
    assert controls[0] == controls[1]
    assert len(treated[0] & treated[1]) < len(treated[0]) / 4


def test_another_process_assigns_alike() -> None:
    """Nothing of a process, such as Python's own seed of hashes, decides on which side a client is."""
    program = (
        "import sys; from uuid import UUID; from litgo_pipelines.rollout.assignment import Split, assign\n"
        f"split = Split('a1', 'b1', {STEPS}, 2)\n"
        "print(*(assign(UUID(line.strip()), split) for line in sys.stdin), sep='\\n')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(map(str, CLIENTS[:1000])),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONHASHSEED": "4711"},
    )
    assert told.stdout.split("\n")[:-1] == [assign(one, replace(SPLIT, step=2)) for one in CLIENTS[:1000]]
