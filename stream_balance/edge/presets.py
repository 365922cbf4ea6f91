"""Presets: the makes of records that `wire.preset` knows. Values of the section `wire`; any key of it goes before them.

The shapes are shown with an example record each in docs/domains.md.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "shop": {},
    "card_fraud": {
        "classes": ("fraud",),
        "outcome_when": "chargeback_id",
        "search": {
            "event_id": "transaction_id", "ts": "time", "user_id": "card.id", "session_id": "", "query": "",
            "features": ("channel", "card.country", "card.age_days", "terminal", "checks"), "items": "",
        },
        "item": {
            "item_id": "merchant.id", "position": "", "price": "amount", "category": "merchant.category",
            "features": ("merchant.country",),
        },
        "outcome": {
            "event_id": "chargeback_id", "ts": "time", "user_id": "card_id", "item_id": "merchant_id",
            "search_id": "transaction_id", "price": "amount", "quantity": "", "label": "",
        },
    },
    "admissions": {
        "classes": ("sepsis", "stroke", "embolism"),
        "outcome_when": "diagnosis_id",
        "search": {
            "event_id": "admission_id", "ts": "admitted_at", "user_id": "patient.id", "session_id": "", "query": "",
            "features": ("ward", "patient.age", "patient.sex", "vitals", "labs"), "items": "",
        },
        "item": {"item_id": "=admission", "position": "", "price": "", "category": "", "features": ()},
        "outcome": {
            "event_id": "diagnosis_id", "ts": "recorded_at", "user_id": "patient_id", "item_id": "=admission",
            "search_id": "admission_id", "price": "", "quantity": "", "label": "diagnosis",
        },
    },
    "credit_risk": {
        "classes": ("default",),
        "outcome_when": "default_id",
        "search": {
            "event_id": "application_id", "ts": "submitted_at", "user_id": "applicant.id", "session_id": "",
            "query": "", "items": "",
            "features": (
                "applicant.income", "applicant.employed_years", "applicant.home", "loan.term_months", "bureau",
            ),
        },
        "item": {
            "item_id": "loan.product", "position": "", "price": "loan.amount", "category": "loan.purpose",
            "features": (),
        },
        "outcome": {
            "event_id": "default_id", "ts": "defaulted_at", "user_id": "applicant_id", "item_id": "product",
            "search_id": "application_id", "price": "", "quantity": "", "label": "",
        },
    },
}  # fmt: skip


def over(preset: str, given: dict[str, Any]) -> dict[str, Any]:
    """The preset's values with the given ones above them. Raises ValueError for a name it does not know.

    >>> over("card_fraud", {"search": {"ts": "when"}})["search"]["ts"]
    'when'
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown, expected one of: {', '.join(PRESETS)}")
    values = dict(PRESETS[preset])
    for key, value in given.items():
        known = values.get(key)
        values[key] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
    return values
