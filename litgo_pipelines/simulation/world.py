"""Who lives in the simulated marketplace: lawyers of Brazilian cities, clients, cases. Made from a seed; nothing is stored here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.equity.capacity import monthly_capacity
from litgo_pipelines.simulation.texts import AREAS, case_text
from litgo_pipelines.simulation.truth import LATENT

CITIES = (
    ("São Paulo", "SP", -23.55, -46.63, 30),
    ("Rio de Janeiro", "RJ", -22.91, -43.20, 18),
    ("Belo Horizonte", "MG", -19.92, -43.94, 12),
    ("Salvador", "BA", -12.97, -38.50, 10),
    ("Curitiba", "PR", -25.43, -49.27, 10),
    ("Recife", "PE", -8.05, -34.88, 10),
    ("Porto Alegre", "RS", -30.03, -51.23, 10),
)
_CITY_WEIGHTS = np.array([city[4] for city in CITIES], dtype=np.float64) / sum(city[4] for city in CITIES)
_FIRST = (
    "Ana Beatriz Bruno Camila Carlos Carolina Daniel Débora Eduardo Fernanda Felipe Gabriela Gustavo Helena Isabela João Juliana "
    "Larissa Leonardo Lucas Luiza Marcelo Mariana Mateus Natália Paulo Patrícia Rafael Renata Rodrigo Sofia Thiago Vanessa Vinícius"
).split()
_LAST = (
    "Almeida Alves Andrade Araújo Barbosa Barros Batista Campos Cardoso Carvalho Castro Costa Dias Ferreira Freitas Gomes Lima Lopes "
    "Machado Martins Melo Mendes Moreira Moura Nascimento Nunes Oliveira Pereira Pinto Ramos Ribeiro Rocha Santos Silva Souza Teixeira"
).split()
_FIRMS = ("individual", "escritorio_pequeno", "escritorio_medio", "escritorio_grande")
NEWCOMERS = 0.1
"""Share of the lawyers who join while the simulation runs."""


@dataclass(frozen=True)
class People:
    """The lawyers as rows of `lawyers`, with their hidden traits, shape (n, 7), and capacities, shape (n,)."""

    rows: list[dict[str, Any]]
    traits: NDArray[np.float64]
    capacity: NDArray[np.int64]


@dataclass(frozen=True)
class Cases:
    """New cases in the order of time, as rows of `clients` and `cases`, with hidden traits, shape (n, 5)."""

    clients: list[tuple[Any, ...]]
    rows: list[dict[str, Any]]
    traits: NDArray[np.float64]


def random_ids(rng: np.random.Generator, count: int) -> list[UUID]:
    """Version-4 UUIDs drawn from `rng`."""
    drawn = rng.bytes(16 * count)
    return [UUID(bytes=drawn[16 * i : 16 * i + 16], version=4) for i in range(count)]


def make_lawyers(seed: int, count: int, start: datetime, end: datetime) -> People:
    """Draw the lawyers; a tenth of them join between `start` and `end`, the others were there before."""
    rng = np.random.default_rng([seed, 1])
    quality = np.clip(rng.standard_t(4, count), -3.0, 6.0) * 0.8
    prestige, speed = rng.standard_normal(count), rng.standard_normal(count)
    traits = np.column_stack([quality, prestige, speed, rng.normal(0, 0.7, (count, LATENT))])
    years = np.minimum(rng.gamma(2.0, 4.5, count), 45).astype(int)
    firm = rng.choice(len(_FIRMS), count, p=[0.45, 0.3, 0.15, 0.1])
    success = _squash(0.6 * prestige + rng.normal(0, 0.6, count) + 0.2)
    declares = rng.random(count) < 0.85
    declared = np.clip(np.rint(rng.gamma(3.0, 3.2, count)), 1, 30).astype(int)
    supply = np.array([area.supply for area in AREAS])
    primary = rng.choice(len(AREAS), count, p=supply / supply.sum())
    extra = rng.choice([0, 1, 2], count, p=[0.35, 0.45, 0.2])
    city = rng.choice(len(CITIES), count, p=_CITY_WEIGHTS)
    joins = np.where(rng.random(count) < NEWCOMERS, rng.random(count), -1.0)
    numbers = {
        "cv_score": _squash(2.2 * prestige + rng.normal(0, 0.4, count)),
        "kpi_softskill": _squash(1.1 * quality + rng.normal(0, 0.4, count)),
        "avaliacao_media": np.clip(3.7 + 0.45 * quality + rng.normal(0, 0.2, count), 1, 5),
        "tempo_resposta_h": np.clip(np.exp(1.9 - 0.5 * speed + rng.normal(0, 0.3, count)), 0.5, 72),
        "lat": np.array([CITIES[one][2] for one in city]) + rng.normal(0, 0.08, count),
        "lng": np.array([CITIES[one][3] for one in city]) + rng.normal(0, 0.08, count),
    }
    ids = random_ids(rng, count)
    names = rng.integers(0, [[len(_FIRST)], [len(_LAST)], [len(_LAST)]], (3, count))
    rows = []
    for i in range(count):
        others = [one for one in rng.permutation(len(AREAS))[: extra[i] + 1] if one != primary[i]][: extra[i]]
        joined = start - timedelta(days=200 + float(i % 500)) if joins[i] < 0 else start + (end - start) * float(joins[i])
        rows.append(
            {
                "id": ids[i],
                "name": f"{_FIRST[names[0][i]]} {_LAST[names[1][i]]} {_LAST[names[2][i]]}",
                "oab_number": f"{CITIES[city[i]][1]}{100000 + i}",
                "status": "active",
                "primary_area": AREAS[primary[i]].name,
                "specialties": [AREAS[one].name for one in others],
                "state": CITIES[city[i]][1],
                "city": CITIES[city[i]][0],
                "anos_experiencia": int(years[i]),
                "tipo_atuacao": _FIRMS[firm[i]],
                "success_rate": float(np.float32(success[i])),
                "max_concurrent_cases": int(declared[i]) if declares[i] else None,
                "available_from": joined if joins[i] >= 0 else None,
                "created_at": joined,
                "updated_at": joined,
                **{name: float(values[i]) for name, values in numbers.items()},
            }
        )
    capacity = monthly_capacity(years, [_FIRMS[one] for one in firm], success, np.where(declares, declared, np.nan))
    return People(rows, traits, capacity)


def subarea_needs(seed: int) -> dict[tuple[str, str], NDArray[np.float64]]:
    """The skill that each kind of case asks for, shape (4,) each."""
    rng = np.random.default_rng([seed, 2])
    return {(area.name, sub.name): rng.normal(0, 0.9, LATENT) for area in AREAS for sub in area.subareas}


def make_cases(seed: int, since: datetime, until: datetime, expected: float, needs: dict[tuple[str, str], NDArray[np.float64]]) -> Cases:
    """Draw the cases of one stretch of time; how many is Poisson around `expected`."""
    rng = np.random.default_rng([seed, 3, int(since.timestamp())])
    count = int(rng.poisson(expected))
    moments = [since + float(one) * (until - since) for one in np.sort(rng.random(count))]
    demand = np.array([area.demand for area in AREAS])
    areas = rng.choice(len(AREAS), count, p=demand / demand.sum())
    cities = rng.choice(len(CITIES), count, p=_CITY_WEIGHTS)
    spots = rng.normal(0, 0.1, (count, 2))
    draws = rng.random((count, 6))
    urgency = np.clip(np.exp(rng.normal(3.9, 0.8, count)), 4, 720).astype(int)
    radius = rng.choice([20, 25, 30, 40], count, p=[0.25, 0.35, 0.25, 0.15])
    complexity = rng.choice(["LOW", "MEDIUM", "HIGH"], count, p=[0.35, 0.45, 0.2])
    noise = rng.normal(0, 0.35, (count, LATENT))
    hard = rng.standard_normal(count)
    case_ids, client_ids = random_ids(rng, count), random_ids(rng, count)
    clients, rows, traits = [], [], np.zeros((count, 1 + LATENT))
    for i in range(count):
        area = AREAS[areas[i]]
        subarea = area.subareas[int(draws[i, 0] ** 1.5 * len(area.subareas))]
        name, state, lat, lng, _ = CITIES[cities[i]]
        lat, lng = lat + float(spots[i, 0]), lng + float(spots[i, 1])
        clients.append((client_ids[i], state, name, lat, lng, moments[i]))
        rows.append(
            {
                "id": case_ids[i],
                "client_id": client_ids[i],
                "area": area.name,
                "subarea": subarea.name,
                "urgency_h": int(urgency[i]),
                "complexity": str(complexity[i]),
                "lat": lat,
                "lng": lng,
                "radius_km": int(radius[i]),
                "summary": case_text(subarea, (draws[i, 1], draws[i, 2], draws[i, 3], draws[i, 4])),
                "created_at": moments[i],
            }
        )
        traits[i] = [hard[i], *(needs[area.name, subarea.name] + noise[i])]
    return Cases(clients, rows, traits)


def _squash(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-values)))
