"""World: users, items and what is shown to whom. In: seconds since the shop opened, rng. Out: Shown, with logits.

One search is a handful of vector operations over its category and its items. All arrays are indexed by item or user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from stream_balance.core.records import Floats, RoomSettings

TASTES = 6  # length of taste vectors
EMBEDDING = 4  # of them, in the item's published embedding
DEVICES = ("ios", "android", "desktop")
NAMES = (
    "shoes", "shirts", "jackets", "hats", "bags", "watches", "lamps", "chairs", "tables", "plants",
    "books", "games", "phones", "cameras", "tents", "bikes", "knives", "pans", "toys", "rugs",
)  # fmt: skip
WORDS = ("red", "cheap", "new", "small", "best", "light", "")
OTHER_CATEGORY_SHARE = 0.2  # of the items shown
POSITION_LOGIT = 0.5  # what is lower is seen less: times the log of the position


class ShopSettings(RoomSettings):
    """The simulated shop."""

    users: PositiveInt = 3000
    items: PositiveInt = 2000
    items_new: NonNegativeInt = 200  # of them, offered only later, one after the other over `launch_span_s`
    categories: PositiveInt = 20
    shown_min: PositiveInt = 5  # items of one search
    shown_max: PositiveInt = 20
    search_gap_s: PositiveFloat = 2.0  # mean time between searches
    positive_share: float = Field(default=0.02, gt=0, lt=0.5)  # of impressions, within the window, at the start
    window_s: PositiveFloat = 1800.0  # what `truth` refers to
    delay_median_s: PositiveFloat = 240.0  # from search to purchase, lognormal
    delay_sigma: PositiveFloat = 1.1
    search_id_share: float = Field(default=0.8, ge=0, le=1)  # purchases that name their search
    season_s: PositiveFloat = 21_600.0  # period of each category's demand
    season_logit: NonNegativeFloat = 0.6  # its amplitude
    price_period_s: PositiveFloat = 28_800.0
    price_swing: float = Field(default=0.25, ge=0, lt=1)  # prices move by this share up and down
    launch_span_s: PositiveFloat = 86_400.0
    broken_share: float = Field(default=0.001, ge=0, le=1)  # broken records per good one


@dataclass(slots=True)
class Shown:
    """One search as it goes out, and the true logit of each item but for the shop's intercept, (n,)."""

    user_id: str
    query: str
    features: dict[str, Any]
    items: list[dict[str, Any]]
    logits: Floats


def ranked(shown: Shown, scores: Sequence[float]) -> Shown:
    """The same items by falling score; ties stay as they are. What is bought changes with the positions."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    place = POSITION_LOGIT * np.log(np.arange(1.0, len(order) + 1.0))
    items = [{**shown.items[index], "position": at} for at, index in enumerate(order.tolist(), start=1)]
    return Shown(shown.user_id, shown.query, shown.features, items, (shown.logits + place)[order] - place)


class World:
    """Fixed after birth; what moves is a function of time."""

    def __init__(self, settings: ShopSettings, rng: np.random.Generator) -> None:
        self._settings = settings
        users, items, categories = settings.users, settings.items, settings.categories
        self._names = [
            NAMES[k % len(NAMES)] + ("" if k < len(NAMES) else f" {k // len(NAMES)}") for k in range(categories)
        ]
        # users: activity by Zipf, a taste, a readiness to buy, an eye for prices, favourite categories
        self._user_cdf = np.cumsum(1.0 / (np.arange(users) + 20.0) ** 0.7)
        self._taste = rng.standard_normal((users, TASTES)) / np.sqrt(TASTES)
        self._readiness = 0.5 * rng.standard_normal(users)
        self._thrift = 1.0 + 1.0 * rng.random(users)
        self._favourites = rng.dirichlet(np.full(categories, 0.4), users)
        self._device = rng.integers(len(DEVICES), size=users)
        self._member_days = np.round(rng.exponential(300.0, users), 1)
        # items: popularity by Zipf in random order, so that new items are of every rank
        self._appeal = 1.1 * rng.standard_normal((items, TASTES))
        self._quality = rng.standard_normal(items)
        self._category = rng.integers(categories, size=items)
        self._base_price = np.round(np.exp(3.0 + 0.8 * rng.standard_normal(items)), 2)
        self._log_weight = -np.log(rng.permutation(items) + 3.0)
        self._rating = np.clip(np.round(3.8 + 0.6 * self._quality + 0.3 * rng.standard_normal(items), 1), 1.0, 5.0)
        self._brand = rng.integers(40, size=items)
        self._embedding = np.round(self._appeal[:, :EMBEDDING] + 0.2 * rng.standard_normal((items, EMBEDDING)), 3)
        self._launch_s = -86_400.0 * rng.exponential(60.0, items)
        new = min(settings.items_new, items)
        self._launch_s[rng.permutation(items)[:new]] = settings.launch_span_s * (np.arange(new) + 1.0) / (new + 1.0)
        self._phase = rng.uniform(0.0, 2.0 * np.pi, (2, categories))
        self._members = [np.flatnonzero(self._category == k) for k in range(categories)]
        self._embedding_rows = self._embedding.tolist()

    def hot_items(self) -> set[str]:
        """The most popular items, by the weight with which they are shown, that hold half of it."""
        weight = np.exp(self._log_weight)
        order = np.argsort(-weight, kind="stable")
        hot = int(np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)) + 1
        return {f"i{item}" for item in order[:hot].tolist()}

    def search(self, at_s: float, rng: np.random.Generator) -> Shown:
        """What one user, drawn by activity, is shown at this moment."""
        settings = self._settings
        user = int(np.searchsorted(self._user_cdf, rng.random() * self._user_cdf[-1]))
        season = np.sin(2.0 * np.pi * at_s / settings.season_s + self._phase[0])
        wish = self._favourites[user] * np.exp(settings.season_logit * season)
        wished = min(int(np.searchsorted(np.cumsum(wish), rng.random() * wish.sum())), settings.categories - 1)
        items = self._choose(wished, at_s, rng)
        n = len(items)
        affinity = self._appeal[items] @ self._taste[user]
        # the shop's own ranking: popular first, a little of taste, a little of chance
        order = np.argsort(
            -(0.4 * self._log_weight[items] + 0.3 * affinity + 0.5 * rng.standard_normal(n)), kind="stable"
        )
        items, affinity = items[order], affinity[order]
        categories = self._category[items]
        swing = settings.price_swing * np.sin(2.0 * np.pi * at_s / settings.price_period_s + self._phase[1][categories])
        discount = np.where(rng.random(n) < 0.1, 0.2, 0.0)
        price_level = (1.0 + swing) * (1.0 - discount)
        logits = (
            affinity
            + 0.5 * self._quality[items]
            - self._thrift[user] * np.log(price_level)
            - 0.25 * np.log(self._base_price[items] / 20.0)
            - POSITION_LOGIT * np.log(np.arange(1.0, n + 1.0))
            + settings.season_logit * season[categories]
            + np.where(categories == wished, 0.5, -0.5)
            + self._readiness[user]
        )
        told = np.round(affinity + 0.3 * rng.standard_normal(n), 3)  # what the shop's own recommender knows
        shown = self._publish(items, np.round(self._base_price[items] * price_level, 2), discount, told, at_s)
        word = WORDS[int(rng.integers(len(WORDS)))]
        query = f"{word} {self._names[wished]}".strip()
        features = {"device": DEVICES[self._device[user]], "member_days": float(self._member_days[user])}
        return Shown(f"u{user}", query, features, shown, logits)

    def _choose(self, wished: int, at_s: float, rng: np.random.Generator) -> np.ndarray:
        """Items to show, distinct, popular ones more often: most of the wished category, some of any."""
        n = int(rng.integers(self._settings.shown_min, max(self._settings.shown_min, self._settings.shown_max) + 1))
        elsewhere = int(rng.binomial(n, OTHER_CATEGORY_SHARE))
        any_item = rng.integers(len(self._category), size=4 * elsewhere)
        pool = np.concatenate((self._members[wished], any_item))
        keys = self._log_weight[pool] + rng.gumbel(size=len(pool))  # the n largest: drawn without replacement
        keys[self._launch_s[pool] > at_s] = -np.inf
        best = pool[np.argsort(-keys, kind="stable")][: int(np.isfinite(keys).sum())]
        if len(best) == 0:  # a tiny world with nothing on offer yet
            return np.array([np.argmin(self._launch_s)])
        _, first = np.unique(best, return_index=True)
        return best[np.sort(first)[:n]]

    def _publish(
        self, items: np.ndarray, price: Floats, discount: Floats, told: Floats, at_s: float
    ) -> list[dict[str, Any]]:
        age_days = np.round((at_s - self._launch_s[items]) / 86_400.0, 2)
        columns = zip(
            items.tolist(), price.tolist(), self._category[items].tolist(), self._rating[items].tolist(),
            self._brand[items].tolist(), age_days.tolist(), discount.tolist(), told.tolist(), strict=True,
        )  # fmt: skip
        return [
            {
                "item_id": f"i{item}",
                "position": position,
                "price": cost,
                "category": self._names[category],
                "features": {
                    "rating": rating,
                    "brand": f"b{brand}",
                    "age_days": age,
                    "discount": cut,
                    "affinity": known,
                    "embedding": self._embedding_rows[item],
                },
            }
            for position, (item, cost, category, rating, brand, age, cut, known) in enumerate(columns, start=1)
        ]
