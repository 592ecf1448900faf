"""Whether people agree with FD-DINOv2: 41 generators of four data sets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.commands import run_json

from vdna_metrics.analysis import read_scores

EXAMPLES = Path(__file__).parents[2] / "examples" / "human_realism"
SPEARMAN = {"cifar10": -0.967, "imagenet256": -0.836, "lsun256": -0.976, "ffhq256": -0.383}


@pytest.mark.real_data
def test_people_agree_with_fd_dinov2_but_on_faces(shared: Path) -> None:
    """The tables of the documentation are the oracle's, and so are the correlations; of faces nothing follows."""
    path = shared / "oracles" / "human_realism.json"
    if not path.is_file():
        pytest.skip(f"no oracle at {path}")
    oracle = json.loads(path.read_text(encoding="utf-8"))["datasets"]
    for name, models in oracle.items():
        people, fd = read_scores(EXAMPLES / f"{name}.csv")
        assert people.values == {model: entry["error_rate"] for model, entry in models.items()}
        assert fd.values == {model: entry["dinov2"]["fd"] for model, entry in models.items()}
        errors = {model: each["error_rate_std"] / math.sqrt(each["participants"]) for model, each in models.items()}
        assert people.errors == pytest.approx(errors, abs=1e-4)
    tables = [EXAMPLES / f"{name}.csv" for name in SPEARMAN]
    found = {each["table"]: each for each in run_json("agreement", *tables)}
    assert {name: round(each["spearman"]["value"], 3) for name, each in found.items()} == SPEARMAN
    verdicts = {name: each["verdict"] for name, each in found.items()}
    assert verdicts == {**dict.fromkeys(SPEARMAN, "same order"), "ffhq256": "inconclusive"}
