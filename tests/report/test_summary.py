import pytest

from transhash.report.figures import number, plain, size, spell
from transhash.report.plots import exponent, plots
from transhash.report.records import Curve, Measurement, TableRow
from transhash.report.sections import gather
from transhash.report.summary import summarize
from transhash.report.tables import tables

from .samples import accuracy, search


def said(records):
    summary = summarize(gather(records))
    return " ".join(summary.buys), " ".join(summary.costs), {value for value, _ in summary.facts}


def test_codes_that_lose_a_little():
    buys, costs, facts = said(accuracy(0.74, 0.75, 0.70))
    assert "0.740 mAP@all on cifar10 with 8 bytes per image (TransHash, 64 bits)." in buys
    assert "0.750 with 1,536 bytes, 192 times as many (float embedding): the codes keep 98.7% of that." in buys
    assert "It beats other methods that use at most 8 bytes: PQ and LSH (0.700 at best)" in buys
    assert "Some accuracy: 0.740 mAP@all on cifar10 instead of 0.750" in costs
    assert "0.610 with 4 bytes per image, 0.740 with 8" in costs
    assert "between 0.730 and 0.750" in costs
    assert {"8 bytes", "0.740", "0.750"} <= facts


def test_codes_that_win():
    buys, costs, _ = said(accuracy(0.80, 0.75, 0.70))
    assert "the codes keep all of it" in buys
    assert "Some accuracy" not in costs


def test_a_better_rival_is_named():
    buys, costs, _ = said(accuracy(0.74, 0.75, 0.76))
    assert "Better on cifar10 with no more bytes: PQ, 0.760 mAP@all" in costs
    assert "It beats other methods that use at most 8 bytes: LSH" in buys


def test_the_summary_compares_codes_with_their_own_embedding():
    records = accuracy(0.74, 0.75, 0.70)
    for row in records[1:]:
        row.params["hasher"] = "ours"
    values = {"mAP@all": Measurement(0.99), "bytes per image": Measurement(8)}
    records.append(TableRow("a", "accuracy", "cifar10", "TransHash, asymmetric", "codes", {"bits": 64}, values))
    floats = {"mAP@all": Measurement(0.98), "bytes per image": Measurement(9999)}
    records.append(TableRow("a", "accuracy", "cifar10", "float embedding", "float", {"hasher": "another"}, floats))
    values = {"mAP@all": Measurement(0.01), "bytes per image": Measurement(8)}
    records.append(TableRow("a", "accuracy", "cifar10", "OPQ", "peer", {"hasher": "another"}, values))
    buys = said(records)[0]
    assert "0.750 with 1,536 bytes" in buys
    assert "0.99" not in buys
    assert "OPQ" not in buys


def test_search():
    buys, costs, facts = said(search(0.5, 60.0, 2.0))
    assert "A query among 1,000,000 images takes 0.500 ms with TransHash flat" in buys
    assert "60 ms with FAISS Flat: 120 times as long" in buys
    assert "The fastest peer, usearch exact, takes 2 ms" in buys
    assert "Faster" not in costs
    assert "Not run, for the reasons below: Milvus." in costs
    assert "0.500 ms" in facts
    buys, costs, _ = said(search(0.5, 0.2, 0.1))
    assert "usearch" not in buys
    assert "Faster among 1,000,000 images: FAISS Flat, 0.200 ms per query instead of 0.500." in costs
    assert "Faster among 1,000,000 images: usearch exact, 0.100 ms" in costs


def test_recall_of_float_neighbours():
    records = search()
    for row in records:
        if isinstance(row, TableRow):
            row.values["recall@10 of the floats"] = Measurement(0.5)
    assert "Of the ten nearest by float embedding among 1,000,000 images, 50% are" in said(records)[1]


def test_searches_with_low_recall_are_not_compared():
    fast = TableRow(
        *("s", "one query", "clustered, 1,000,000", "half blind", "peer", {}),
        {"ms per query": Measurement(0.001), "recall@10 by distance": Measurement(0.5)},
    )
    assert "half blind" not in "".join(said([*search(), fast])[:2])


@pytest.mark.slow
def test_rows_without_a_time_are_ignored():
    records = [*accuracy(), *search()]
    for row in records:
        if isinstance(row, TableRow):
            row.values.update(
                {name: Measurement(0.0) for name in ("bytes per image", "ms per query") if name in row.values}
            )
    assert said(records)[0] == ""
    assert [plot.name for group in plots(gather(records)[1]) for plot in group].count("ms per query") == 2


def test_nothing_to_say():
    assert said([]) == ("", "", set())
    assert said(accuracy()[:1]) == ("", "", set())


def test_the_best_of_a_data_set_is_marked_where_rows_differ():
    (table,) = tables(gather(accuracy())[0])
    assert [row.method for row in table.rows if table.wins(row, "mAP@all")] == ["float embedding"]
    assert [row.params.get("bits") for row in table.rows if table.wins(row, "bytes per image")] == [32]
    (table,) = tables(gather(search())[0])
    assert not any(table.wins(row, "recall@10 by distance") for row in table.rows)
    assert [(row.method, row.dataset) for row in table.rows if table.wins(row, "ms per query")] == [
        ("TransHash flat", "clustered, 10,000"),
        ("TransHash flat", "clustered, 1,000,000"),
    ]


def test_figures():
    assert number("mAP@all", 0.74) == "0.7400"
    assert [plain(value) for value in (0, 8, 7680, 1234.5, 0.03816, 12.711, 5e-7, 1e30)] == [
        *("0", "8", "7,680", "1,234", "0.0382", "12.7", "5.00e-07", "1e+30"),
    ]
    assert spell("ms per query", Measurement(0.38, 0.36, 0.41)) == "0.380 (0.360 to 0.410)"
    assert [size(name) for name in ("cifar10", "clustered, 1,000,000 codes of 64 bits", "54000 images")] == [
        *(None, 1_000_000, 54_000),
    ]


def test_exponent():
    assert exponent([(n, 3 * n**0.7) for n in (10, 100, 5000)]) == pytest.approx(0.7)
    assert exponent([(1, 1), (2, 2)]) is None
    assert exponent([(5, 1), (5, 2), (5, 3)]) is None
    assert exponent(Curve("", "", "", "", "codes", {}, "", "", [(0, 1), (-1, 2), (3, 4)]).points) is None
