"""Pairs: rows beside the rare class and fewer of the majority, each of which does half of the work (`Shared`)."""

from __future__ import annotations

from typing import ClassVar

from stream_balance.core.balance.over import Adasyn, BorderlineSmote
from stream_balance.core.balance.plain import Shared
from stream_balance.core.balance.under import NeighbourUnder, Tomek


class BorderlineUnder(Shared, BorderlineSmote):
    """Borderline-SMOTE 1 (Han et al. 2005) beside rare rows in danger; the majority thinned by chance."""

    name: ClassVar[str] = "borderline_under"


class AdasynUnder(Shared, Adasyn):
    """ADASYN (He et al. 2008) beside hard rare rows; the majority thinned by chance."""

    name: ClassVar[str] = "adasyn_under"


class SmoteNeighbourUnder(Shared, NeighbourUnder):
    """SMOTE beside rare rows; the majority thinned by chance and cleaned by edited nearest neighbours.

    Batista, Prati, Monard, "A study of the behavior of several methods for balancing machine learning training data"
    (SIGKDD Explorations 2004); cleaned are majority rows as they arrive, not synthetic ones.
    """

    name: ClassVar[str] = "smote_enn"
    synthesises: ClassVar[bool] = True


class SmoteTomek(Shared, Tomek):
    """SMOTE beside rare rows; the majority thinned by chance and cleaned of Tomek links (Batista et al. 2004)."""

    name: ClassVar[str] = "smote_tomek"
    synthesises: ClassVar[bool] = True
