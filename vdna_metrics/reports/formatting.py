"""Numbers, names and columns as people read them; sets are nearer by a distance, better by a score."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.text import printable


def significant(value: float, digits: int = 4) -> str:
    """A number with some significant digits, never in powers of ten where it can be helped.

    Examples:
        >>> [significant(value) for value in (0.0, 4.98765, 75.0, 12345.6, 0.00064, -0.25)]
        ['0', '4.988', '75.00', '12346', '0.0006400', '−0.2500']
    """
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    text = f"{value:.{digits - 1}e}" if size < -6 or size > 8 else f"{value:.{max(0, digits - 1 - size)}f}"
    return text.replace("-", "−")


def decimals(value: float, error: float) -> int:
    """How many decimals a number is given: three significant digits, more where its standard error leaves more.

    Of the error one digit is shown, or two where it begins with 1 or 2.

    Examples:
        >>> decimals(12.3456, 0.213), decimals(12.3456, 4.0), decimals(0.0123, 0.5), decimals(1234.5, 30.0)
        (2, 1, 4, 0)
    """
    needed = [2 - math.floor(math.log10(abs(value)))] if value else [0]
    if 0 < error < math.inf:
        needed.append(-math.floor(math.log10(error / 3)))
    return min(8, max(0, *needed))


def fixed(value: float, places: int) -> str:
    """A number with so many decimals.

    Examples:
        >>> fixed(-1.25, 1), fixed(-0.001, 1)
        ('−1.2', '0.0')
    """
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def with_error(value: float, error: float) -> str:
    """A number and its standard error.

    Examples:
        >>> with_error(12.3456, 0.213), with_error(147.2, 3.4)
        ('12.35 ± 0.21', '147 ± 3')
    """
    places = decimals(value, error)
    return f"{fixed(value, places)} ± {fixed(error, places)}"


def quoted(name: str) -> str:
    """A name inside a sentence.

    Examples:
        >>> quoted("white noise")
        '“white noise”'
    """
    return f"“{printable(name)}”"


def shortened(name: str, letters: int) -> str:
    """A name in one line, with its middle left out where it is too long.

    Examples:
        >>> shortened("stylegan2-ada-ffhq-256-kimg25000-seed7", 20)
        'stylegan2-…000-seed7'
    """
    name = printable(name)
    if len(name) <= letters:
        return name
    head = letters // 2
    return f"{name[:head]}…{name[len(name) - (letters - 1 - head) :]}"


def listed(words: Sequence[str], most: int = 6) -> str:
    """Some words as a list in a sentence.

    Examples:
        >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], 2)
        ('a', 'a, b and c', 'a, b and 2 more')
    """
    shown = list(words[:most])
    if len(words) > most:
        shown.append(f"{len(words) - most} more")
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""


def is_distance(column: Column) -> bool:
    """Whether a column says how far two sets are apart: then the smallest value is the nearest.

    Examples:
        >>> is_distance(find_column("fid"))
        True
    """
    return column.distance.says_how_far


def are_distances(metrics: Sequence[str]) -> bool:
    """Whether all of some metrics are distances, by their names."""
    return all(is_distance(find_column(metric)) for metric in metrics)


def titled(column: Column) -> str:
    """A column's title, with its direction where that is not the usual one.

    Examples:
        >>> titled(find_column("emd"))
        'VDNA-EMD (bins)'
    """
    return f"{column.title}, higher is better" if column.distance.higher_is_better else column.title


def headed(column: Column, reference: str) -> str:
    """A column's title with what it is measured from.

    Examples:
        >>> headed(find_column("fid"), "real")
        'FID from real'
    """
    if is_distance(column):
        return f"{column.title} from {reference}"
    return titled(column) if column.distance.arity == 1 else f"{titled(column)}, against {reference}"
