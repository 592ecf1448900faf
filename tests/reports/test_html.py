"""The page of a leaderboard: whole, self-contained, the same each time, and safe whatever files are called."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from helpers.dnas import make_dna
from helpers.leaderboards import (
    NAMES,
    make_diagnoses,
    make_evidence,
    make_leaderboard,
    reaching_the_floor,
    with_outside,
    without_estimates,
)
from helpers.toy_distances import JENSEN_SHANNON, registered_toys

from vdna_metrics.analysis.maps import DifferenceMap, DifferenceMaps
from vdna_metrics.dna.account import AccountFields, ImageSizes, PixelsFields
from vdna_metrics.dna.distances import register_distance
from vdna_metrics.leaderboard.record import Evidence, Leaderboard
from vdna_metrics.reports import leaderboard_markdown
from vdna_metrics.reports.html import write_report

# Without PNG, which takes as long as all else.
draw = partial(write_report, figures=("svg",))

# Of file names: markup, quotes, mathematics of matplotlib, no letters of its font, two lines, and no text at all.
HOSTILE = ('<script>alert("a")</script>', "a$b$ & 'c'_{", "生成器 \u202e\n2", "bad \udcff byte", "{{ 7 * 7 }}")


class Page(HTMLParser):
    """What a page has: its elements with their attributes, headings, and text by element."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.path, self.source = path, path.read_text("utf-8")
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        """No longer inside."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Keep what people see."""
        if not self._inside:
            self.text += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        """Attributes of all elements with one of these tags."""
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def ids(self) -> list[str]:
        """All names of elements."""
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]


@pytest.fixture(scope="module")
def small() -> tuple[Leaderboard, Evidence]:
    """Three generators, one network, two metrics, with evidence."""
    leaderboard = reaching_the_floor(make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["emd", "lfd"]))
    return leaderboard, make_evidence(leaderboard)


@pytest.fixture(scope="module")
def page(small: tuple[Leaderboard, Evidence], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Its page."""
    return Page(write_report(*small, tmp_path_factory.mktemp("report")))


def test_every_number_of_the_ranking_is_on_the_page(page: Page) -> None:
    """A row has its rank or its tie, corrected value with its interval, plain value, extrapolation, and n."""
    for text in ("2–3", "20.0", "18.6 to 21.4", "plain 20.2", "∞ 18.6 ± 0.7", "at the noise floor", "200"):
        assert text in page.text, text
    keys = [float(str(attributes["data-key"])) for attributes in page.all("td") if "data-key" in attributes]
    # The column to report, then all columns.
    assert keys[:6] == pytest.approx([5, 200, 20, 200, 20.25, 200])
    assert keys[6:] == pytest.approx([5, 4.8, 200, 20, 19.2, 200, 20.25, 19.44, 200])
    assert re.search(r'<td data-key="[^"]+"><span class="rank">.*?<span class="value">5.00</span>', page.source)


def test_the_page_says_what_the_images_are(small: tuple[Leaderboard, Evidence], tmp_path: Path) -> None:
    """Each set has its account once, in the table of sets, with what is not read; a dash where nothing is known."""
    leaderboard, evidence = small
    account = AccountFields({"JPEG": 3}, ImageSizes((32, 64), (32, 32)), pixels=PixelsFields(3, 1, exact=False))
    first, *others = leaderboard.generators
    told = replace(first, account=account, unread=((".heic", 2), (".txt", 1)))
    page = Page(draw(replace(leaderboard, generators=(told, *others)), evidence, tmp_path))
    assert page.text.count("JPEG, 32..64 x 32, about 1 of 3 the same as another") == 1
    assert page.text.count("3 files not read") == 1
    assert "What they are" in page.text


def test_the_page_says_what_is_wrong(small: tuple[Leaderboard, Evidence], tmp_path: Path) -> None:
    """Each generator's faults, and below them what was not looked at, in a section after the ranking."""
    leaderboard, _ = small
    page = Page(write_report(replace(leaderboard, diagnoses=make_diagnoses()), Evidence(), tmp_path))
    assert page.ids.index("ranks") < page.ids.index("diagnosis") < page.ids.index("layers")
    assert "Blurred: detail at edges has 0.35 times the reference's power." in page.text
    assert "Pixels were not looked at: of this set, there are no images at hand." in page.text
    nothing = [
        replace(each, diagnosis=replace(each.diagnosis, faults=(), looked="nothing")) for each in make_diagnoses()
    ]
    page = Page(write_report(replace(leaderboard, diagnoses=tuple(nothing)), Evidence(), tmp_path))
    assert page.text.count("Nothing could be looked at.") == 1


def test_sections_follow_what_there_is(page: Page, small: tuple[Leaderboard, Evidence], tmp_path: Path) -> None:
    """All sections in their order with all data; without any only the ranking, how it was made and the glossary."""
    sections = [attributes["id"] for attributes in page.all("section") if "id" in attributes]
    assert sections == [
        "ranks", "layers", "neurons", "images", "classes", "fidelity", "agreement", "notes", "made", "glossary",
    ]  # fmt: skip
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert {link.removeprefix("#") for link in links} == set(sections)
    bare = make_leaderboard(NAMES[:1], networks=["tiny"], metrics=["fid"])
    bare = replace(bare, scores=tuple(replace(score, layers={"pool": 1.0}) for score in bare.scores))
    empty = Page(draw(without_estimates(bare), Evidence(), tmp_path))
    assert [attributes["id"] for attributes in empty.all("section") if "id" in attributes] == [
        "ranks",
        "made",
        "glossary",
    ]
    assert not empty.all("img")
    for word in ("interval", "tie", "noise floor", "∞", "None"):
        assert word not in empty.text, word


def test_what_is_of_no_column_has_sections_and_columns(tmp_path: Path) -> None:
    """FDr^k and outside scores are columns of the ranking; they, and where networks disagree, are told below.

    Names are only text there, too.
    """
    made = with_outside(make_leaderboard(HOSTILE, networks=["tiny"], metrics=["lfd"]))
    people, elo = made.outside
    scores = (replace(people, name="<b>people</b> {{ 7 * 7 }} $x$", source="<i>.csv"), elo)
    agreements = tuple(
        replace(each, score=scores[0].name) if each.score == people.name else each for each in made.outside_agreement
    )
    page = Page(write_report(replace(made, outside=scores, outside_agreement=agreements), Evidence(), tmp_path))
    assert not page.all("b")
    assert "<i>.csv" in page.text
    assert "validation photographs (validation)" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "49" not in page.text
    for text in ("FDr^k over 1 network", "Do outside scores agree?", "same order", "inconclusive", "0.500"):
        assert text in page.text, text
    assert {"ratio", "agreement", "outside"} <= set(page.ids)
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.ids) == len(set(page.ids))
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"agreement-Elo-lfd-tiny", "agreement-Elo-FDr-k"} <= figures
    assert sum(figure.startswith("agreement-") for figure in figures) == 4


def test_nothing_is_fetched(page: Page) -> None:
    """No element refers to anything but data inside the page and places on it, and the page forbids the rest."""
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert "url(" not in re.sub(r"url\(#", "", page.source)
    assert "@import" not in page.source
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in str(policy).split("script-src")[1]


def test_it_can_be_read_without_seeing_it(page: Page) -> None:
    """One first heading, levels in order, names on all images, figures, regions and heads, ids only once."""
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("img")
    assert all(attributes.get("alt") for attributes in page.all("img"))
    figures = [attributes for attributes in page.all("svg")]
    assert len(figures) > 8
    assert all(figure["role"] == "img" and re.search(r"\d", str(figure["aria-label"])) for figure in figures)
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    regions = [attributes for _, attributes in page.elements if attributes.get("role") == "region"]
    assert all("aria-label" in region or "aria-labelledby" in region for region in regions)
    assert len(page.ids) == len(set(page.ids))
    labels = {str(a["aria-labelledby"]) for _, a in page.elements if "aria-labelledby" in a}
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', page.source))
    assert labels | used <= set(page.ids)
    first = next(attributes for tag, attributes in page.elements if tag == "a")
    assert first["class"] == "skip"


def test_figures_lie_beside_the_page(page: Page) -> None:
    """Rankings, layers, quantiles and the nearest generator's neurons are there as PNG and SVG."""
    folder = page.path.parent / "figures"
    files = {path.name for path in folder.iterdir()}
    stems = {Path(name).stem for name in files}
    assert files == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")}
    assert {"ranking-emd-tiny", "ranking-lfd-tiny", "layers-emd-tiny", "quantiles-emd-tiny-photographs"} <= stems
    assert sum(stem.startswith("neuron-tiny-photographs-") for stem in stems) == 8  # a neuron of 9 is dead
    assert not any("dead-leaves" in stem for stem in stems if stem.startswith("neuron-"))
    for name in files:
        content = (folder / name).read_bytes()
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
            assert b"<dc:date>" not in content
        else:
            assert content.startswith(b"\x89PNG")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two folders are equal, file by file, and the page does not know where it lies."""
    bare = make_leaderboard(NAMES[:1], networks=["tiny"], metrics=["emd"])
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        draw(bare, make_evidence(bare), folder)
    a, b = ({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.*")} for folder in folders)
    assert a == b
    assert {path.suffix for path in a} == {".html", ".svg"}
    with pytest.raises(ValueError, match="unknown format of figures 'gif'; known: pdf, png, svg"):
        write_report(bare, make_evidence(bare), tmp_path / "c", figures=("gif",))  # type: ignore[arg-type]
    assert not any(str(folder) in a[Path("index.html")].decode() for folder in folders)


def test_names_of_files_are_only_text(tmp_path: Path) -> None:
    """Markup, mathematics, foreign letters, control characters and templates in names are shown, never obeyed."""
    leaderboard = make_leaderboard(
        HOSTILE, networks=["<b>net</b>"], metrics=["emd"], reference='"><img src=x onerror=alert(1)>'
    )
    leaderboard = replace(leaderboard, title="</title><script>1</script>", notes=("<b>note</b>",), command="<&>")
    page = Page(draw(leaderboard, make_evidence(leaderboard, generators=1), tmp_path))
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert len(page.all("title")) == 1
    for text in ('<script>alert("a")</script>', "a$b$ & 'c'_{", "生成器", "{{ 7 * 7 }}", "<b>note</b>", "<&>"):
        assert text in page.text, text
    assert "\u202e" not in page.text  # it would turn what follows around
    for path in (tmp_path / "figures").iterdir():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name), path.name


def test_clusters_are_shown_where_there_are_some(tmp_path: Path) -> None:
    """Beside each set's images, in the head for the reference, and in the glossary; else there is no word of them."""
    plain = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["nfd"])
    first, second = plain.generators
    told = replace(
        plain,
        reference=replace(plain.reference, clusters=60, effective_clusters=60.0),
        generators=(replace(first, clusters=32, effective_clusters=11.1), second),
    )
    pages = [
        draw(each, Evidence(), tmp_path / str(place)).read_text("utf-8") for place, each in enumerate((plain, told))
    ]
    assert "(300 images in 60 clusters), seen by" in pages[1]
    for text in ("<small>32 clusters (11.1 effective)</small>", ">Clusters</th>", "11.1 effective", "<dt>cluster</dt>"):
        assert text in pages[1]
    assert "luster" not in pages[0]


def test_names_of_distances_are_only_text(tmp_path: Path) -> None:
    """A plugin's labels may hold markup, mathematics and templates, too."""
    with registered_toys():
        register_distance(
            replace(JENSEN_SHANNON, name="odd", label="<i>a$b_{$", short="{{ 7 * 7 }}<i>", meaning="<script>2</script>")
        )
        leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["odd", "entropy"])
        page = Page(draw(leaderboard, make_evidence(leaderboard), tmp_path))
        text = leaderboard_markdown(leaderboard)
    assert len(page.all("script")) == 1
    assert all(page.all("i"))  # ours have classes or colours
    for shown in ("{{ 7 * 7 }}<i>", "<i>a$b_{$", "<script>2</script>"):
        assert shown in page.text, shown
    assert "## \\<i\\>a$b\\_{$ (bits), seen by tiny" in text


def test_a_leaderboard_without_scores_leaves_no_trace(tmp_path: Path) -> None:
    """What cannot be made is an error before anything is written."""
    leaderboard = replace(make_leaderboard(NAMES[:1]), scores=())
    with pytest.raises(ValueError, match="this leaderboard has no scores"):
        draw(leaderboard, Evidence(), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_generators_that_a_network_has_not_seen_are_marked(tmp_path: Path) -> None:
    """A missing score is a dash in its row, and the row stays."""
    leaderboard = make_leaderboard(NAMES[:2], networks=["tiny", "other"], metrics=["emd"])
    missing = tuple(s for s in leaderboard.scores if (s.generator, s.network) != (NAMES[1], "other"))
    page = Page(draw(replace(leaderboard, scores=missing, copies=()), Evidence(), tmp_path))
    assert [a["data-key"] for a in page.all("td") if "data-key" in a].count("") == 1
    assert NAMES[1] in page.text


def test_gaussian_dnas_show_normal_curves(tmp_path: Path) -> None:
    """Neurons of Gaussian DNAs are drawn; layer Gaussians, which have none, are left out."""
    leaderboard = make_leaderboard(NAMES[:1], networks=["tiny"], metrics=["nfd"])
    for kind, shown in (("gaussian", True), ("layer_gaussian", False)):
        dnas = make_dna(kind), make_dna(kind, seed=1, shift=0.5)  # type: ignore[arg-type]
        evidence = Evidence({"tiny": dnas[0]}, {("tiny", NAMES[0]): dnas[1]})
        page = Page(draw(leaderboard, evidence, tmp_path / kind))
        assert ("The neurons that differ most" in page.text) == shown


def test_distances_of_others_are_shown_as_they_are(tmp_path: Path) -> None:
    """Beside the EMD: no interval or floor without a rule, no profile without layers, and which way each runs."""
    metrics = ["emd", "jsd", "entropy", "overlap"]
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=metrics)
        page = Page(draw(leaderboard, make_evidence(leaderboard), tmp_path))
    assert "Smaller is nearer." in page.text
    lacking = "Jensen-Shannon divergence (bits), activation entropy (nats) and histogram overlap"
    assert f"There are no intervals of {lacking}." in page.text
    every = page.source[page.source.index('<details id="columns">') :]
    heads = every[every.index("<thead>") : every.index("</thead>")]
    assert heads.count("higher is better") == heads.count('data-first="descending"') == 2
    cells = re.findall(r'<td data-key="[^"]+">(.*?)</td>', every)[:5]
    assert ["<small>" in cell for cell in cells] == [True, False, False, False, False]
    files = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {f"ranking-{metric}-tiny" for metric in metrics} <= files
    assert {stem for stem in files if stem.startswith("layers")} == {f"layers-{each}-tiny" for each in metrics[:3]}
    assert "The neurons that differ most by VDNA-EMD (bins)" in page.text
    for text in ("JSD, Jensen-Shannon divergence", "both sets have in common. Higher is better.", "JSD tiny"):
        assert text in page.text, text


def test_each_of_the_farthest_images_has_its_map(tmp_path: Path) -> None:
    """A map stands right after its image, however many are in a row; where there is none the image is alone.

    Where the colours of the maps end is said once for a set.
    """
    leaderboard = make_leaderboard(NAMES[:1], networks=["tiny"], metrics=["emd"])
    evidence = make_evidence(leaderboard)
    ((name, ranking),) = evidence.rankings.items()
    values = torch.linspace(0, 3, 24, dtype=torch.float64).expand(24, 24)
    maps = tuple(
        DifferenceMap(index, ranking.names[index], index * values, 0.0, ranking.pictures[index]) for index in (17, 19)
    )
    found = DifferenceMaps(name, ranking.reference, "VDNA-EMD", "bins", ("a",), (), maps)
    mapped = replace(evidence, rankings={name: replace(ranking, maps=found)})
    page = Page(draw(leaderboard, mapped, tmp_path))
    shown = [str(image["alt"]) for image in page.all("img") if "distance" in str(image["alt"])]
    farthest = [f"{name}/{index}.png, distance {each}" for index, each in ((19, "9.00"), (18, "8.58"), (17, "8.16"))]
    with_maps = [farthest[0], f"{farthest[0]}: where that lies", *farthest[1:], f"{farthest[2]}: where that lies"]
    assert shown[3:] == with_maps
    assert page.text.count("28.5 bins") == page.text.count("Farthest; maps to ±28.5 bins") == 1


def test_a_page_of_a_score_alone_says_nothing_of_distances(tmp_path: Path) -> None:
    """A one-sided score has an order, layers and quantiles, and no neurons that differ from a reference."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["entropy"])
        bare = without_estimates(leaderboard)
        page = Page(draw(bare, replace(make_evidence(bare), rankings={}), tmp_path))
    assert "Higher is better." in page.text
    assert "“photographs” is best: 4.91" in page.text
    assert [a["aria-sort"] for a in page.all("th") if "aria-sort" in a] == ["descending"]
    for word in ("earest", "earer", "arthest", "interval", "floor", "distance", "differ most"):
        assert word not in page.text, word
    files = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"ranking-entropy-tiny", "layers-entropy-tiny", "quantiles-entropy-tiny-photographs"} <= files
    assert not any(stem.startswith("neuron") for stem in files)


def test_neurons_are_those_of_the_first_distance_that_has_some(tmp_path: Path) -> None:
    """By a distance that is not ours, panels have its values in its unit, and no parts."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["overlap", "entropy", "jsd", "emd"])
        page = Page(draw(leaderboard, make_evidence(leaderboard), tmp_path))
    assert "The neurons that differ most by Jensen-Shannon divergence (bits)" in page.text
    assert re.search(r"conv1, neuron \d: 0\.\d+ bits", page.text)
    assert "shift" not in page.text


def test_many_classes_are_cut_and_counted(tmp_path: Path) -> None:
    """Of more classes than can be read the farthest are shown, the worst of each set in bold; all count in the mean."""
    leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["emd"])
    one = replace(leaderboard.classes[0], n_reference=5)
    classes = tuple(replace(one, group=f"class {i}", value=float(i)) for i in range(30))
    page = Page(draw(replace(leaderboard, classes=classes), Evidence(), tmp_path))
    assert "10 nearer classes are left out" in page.text
    assert "class 29" in page.text
    assert "class 9\n" not in page.text
    assert re.search(r"Mean over classes\s*14\.50\s*Imbalance\s*0", page.text)
    assert sum(attributes.get("class") == "worst" for attributes in page.all("span")) == 1
