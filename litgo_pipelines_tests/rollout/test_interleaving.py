"""Team-draft interleaving, and whom a unit's accepted offers speak for."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.rollout.interleaving import TEAMS, Team, Wins, count_wins, credit, team_draft

ORDERS = st.lists(st.integers(0, 30), unique=True, max_size=12)


def coins(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drafted(champion: list[int], challenger: list[int], top_n: int, seed: int) -> list[tuple[int, Team]]:
    found = team_draft(champion, challenger, top_n, coins(seed))
    return list(zip(found.order, found.teams, strict=True))


@given(ORDERS, ORDERS, st.integers(1, 12), st.integers(0, 2**32))
def test_a_list_is_full_holds_nobody_twice_and_is_drafted_in_turn(
    champion: list[int], challenger: list[int], top_n: int, seed: int
) -> None:
    """As many as there are, up to top_n; each place is the best that its team had left; who has fewer is next."""
    found = drafted(champion, challenger, top_n, seed)
    orders = dict(zip(TEAMS, (champion, challenger), strict=True))
    assert len(found) == min(top_n, len({*champion, *challenger}))
    taken: list[int] = []
    chosen = Counter[Team]()
    for one, team in found:
        left = {name: [other for other in orders[name] if other not in taken] for name in TEAMS}
        assert one == left[team][0]
        if all(left.values()):
            assert chosen[team] == min(chosen[name] for name in TEAMS)
        taken.append(one)
        chosen[team] += 1


def test_the_same_coins_give_the_same_list() -> None:
    """A request that is decided again is interleaved again alike; other requests are not."""
    assert drafted([1, 2, 3, 4], [4, 3, 2, 1], 4, 7) == drafted([1, 2, 3, 4], [4, 3, 2, 1], 4, 7)
    assert len({tuple(drafted([1, 2, 3, 4], [4, 3, 2, 1], 4, seed)) for seed in range(50)}) > 3


def test_each_way_to_begin_is_as_likely() -> None:
    """Of two orders of four, the first place and who gets the third are fair coins."""
    lists = [drafted([1, 2, 3, 4], [5, 6, 7, 8], 4, seed) for seed in range(2_000)]
    for place in (0, 2):
        assert np.mean([found[place][1] == "champion" for found in lists]) == pytest.approx(0.5, abs=0.04)
    assert {found[1][1] for found in lists if found[0][1] == "champion"} == {"challenger"}


def test_whom_both_put_first_is_as_often_either_teams() -> None:
    """The order is theirs, whatever the coins; the credit is not given away."""
    lists = [drafted([1, 2, 3], [1, 2, 3], 3, seed) for seed in range(2_000)]
    assert all([one for one, _ in found] == [1, 2, 3] for found in lists)
    for place in range(3):
        assert np.mean([found[place][1] == "champion" for found in lists]) == pytest.approx(0.5, abs=0.04)


def test_two_equal_orders_win_equally_often() -> None:
    """Offers accepted by place alone, the first most often: neither team gains by where it stands."""
    generator = coins(3)
    won = Counter(
        credit(team_draft(range(5), range(5), 5, coins(seed)).teams, list(generator.random(5) < [0.9, 0.5, 0.3, 0.2, 0.1]))
        for seed in range(4_000)
    )
    assert won["challenger"] / (won["challenger"] + won["champion"]) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("teams", "accepted", "winner"),
    [
        ("ab", [1, 1], None),
        ("ab", [0, 0], None),
        ("ab", [1, 0], "champion"),
        ("ba", [1, 0], "challenger"),
        ("abba", [1, 1, 1, 0], "challenger"),
        ("aba", [1, 1, 1], "champion"),
        ("aba", [0, 1, 1], None),
        ("a", [1], "champion"),
        ("a", [0], None),
        ("", [], None),
    ],
)
def test_a_unit_is_won_by_more_accepted_offers(teams: str, accepted: list[int], winner: Team | None) -> None:
    """As many of each, none included, are nobody's."""
    assert credit([{"a": TEAMS[0], "b": TEAMS[1]}[one] for one in teams], [bool(one) for one in accepted]) == winner


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=40), st.randoms())
def test_many_units_are_counted_as_each_by_itself(offers: list[tuple[int, bool, bool]], random: Random) -> None:
    """In whatever order the offers are read; units without any offer are not there."""
    each = [
        credit([TEAMS[int(of)] for one, of, _ in offers if one == number], [taken for one, _, taken in offers if one == number])
        for number in {one for one, _, _ in offers}
    ]
    random.shuffle(offers)
    unit, challenger, accepted = np.array(offers, dtype=np.int64).reshape(-1, 3).T
    found = count_wins(unit, challenger.astype(bool), accepted.astype(bool))
    assert found == Wins(each.count("champion"), each.count("challenger"), each.count(None))
